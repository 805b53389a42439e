"""The servers that run beside the pipeline: Prefect, MLflow, scoring; and who may reach them."""
