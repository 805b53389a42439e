"""What runs: the command line and one file per Prefect flow."""
