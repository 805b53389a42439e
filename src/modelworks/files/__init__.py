"""Atomic writes, digests, manifests and locks."""
