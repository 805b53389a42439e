"""Locks that keep promotions and registrations apart."""
