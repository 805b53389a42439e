"""One file per stage: the retry, cache and tracking policy around one call of the library."""
