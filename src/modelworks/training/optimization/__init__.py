"""Optimizer step, learning rate schedule and weight average."""
