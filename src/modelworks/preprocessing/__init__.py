"""Preprocessed arrays, and the batches drawn from them."""
