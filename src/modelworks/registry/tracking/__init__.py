"""MLflow runs: tags, metrics, artifacts and owner processes."""
