"""Arithmetic of metrics that several objectives share."""
