"""speedbench: measure speculative decoding as it is deployed, and decide where it pays."""

__version__ = "0.1.0"
