"""Locks for promotion and registration."""
