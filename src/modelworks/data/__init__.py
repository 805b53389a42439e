"""Versioned data: sources, data set format, splits, ingest, erasure and DVC."""
