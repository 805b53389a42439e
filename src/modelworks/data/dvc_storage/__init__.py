"""Where DVC keeps the data: the cache, the remotes and data.dvc."""
