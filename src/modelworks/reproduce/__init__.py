"""A version made again from its record alone, and compared with what was registered."""
