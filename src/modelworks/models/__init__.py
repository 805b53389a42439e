"""Architectures, one file each, and the saved form they share."""
