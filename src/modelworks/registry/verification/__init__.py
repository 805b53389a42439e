"""Verify a registered version: bytes, layout, predictions and libraries."""
