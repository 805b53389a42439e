"""Events, progress and early stopping of a training."""
