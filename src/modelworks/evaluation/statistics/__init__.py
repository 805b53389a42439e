"""Intervals and tests: how certain a metric is."""
