"""Metrics over all test rows."""
