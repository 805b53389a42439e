"""Find test rows that are near-duplicates of training rows."""
