"""The gate: its findings and decision."""
