"""What `make` calls: set-up, the lock file, the examples in the documentation."""
