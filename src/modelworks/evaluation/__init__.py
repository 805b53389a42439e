"""Score a model, compare it with production, decide the gate and write reports."""
