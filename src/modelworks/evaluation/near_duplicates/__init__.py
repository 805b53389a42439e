"""Rows of the test set that resemble rows of the training set."""
