"""A pipeline from versioned data to a model in production, on DVC, MLflow and Prefect."""
