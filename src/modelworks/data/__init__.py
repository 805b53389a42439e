"""Versioned data: where it comes from, how it is stored, pinned, split, decoded and cut into batches."""
