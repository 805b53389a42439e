"""Verify a registered version: bytes, layout, predictions, libraries."""
