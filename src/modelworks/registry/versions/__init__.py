"""Registered versions: found, registered, traced."""
