"""Data is judged before anything learns from it: examples become facts, Great Expectations judges the facts."""
