"""Confidence intervals and tests of metrics."""
