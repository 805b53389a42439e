"""The steps as a Kedro project."""
