"""SQLite databases: made complete, read without a lock, repaired."""
