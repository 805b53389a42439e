"""Create, read and check SQLite databases."""
