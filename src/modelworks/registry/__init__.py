"""MLflow as this project uses it: runs, packages, versions, production and its journal."""
