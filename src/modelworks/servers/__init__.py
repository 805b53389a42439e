"""Run the Prefect, MLflow and scoring servers, and check access to them."""
