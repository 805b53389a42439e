"""Access to DVC's cache, its remotes and data.dvc."""
