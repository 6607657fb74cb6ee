"""Training of the demo pair.  Not part of the installed package."""
