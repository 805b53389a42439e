"""Compare which work tools repeat after kill -9, when nothing changed, and after an edit of a helper."""
