"""Preprocessed arrays and the order of batches."""
