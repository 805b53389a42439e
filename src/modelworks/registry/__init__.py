"""MLflow: runs, packages, versions, production and its audit log."""
