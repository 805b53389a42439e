"""Model architectures, one file each, and the saved model format."""
