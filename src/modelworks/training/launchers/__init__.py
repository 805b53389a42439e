"""Start a training on this machine or on a Ray cluster."""
