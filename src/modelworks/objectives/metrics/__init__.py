"""Metrics that several objectives share."""
