"""Check data before training with Great Expectations on a table of facts."""
