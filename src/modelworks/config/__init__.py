"""Load and check the YAML configuration of a pipeline."""
