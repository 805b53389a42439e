"""Runs: their tags, metrics, artifacts and owners."""
