"""Rebuild a version from its record and compare it with what was registered."""
