"""The configuration file of a pipeline: read, checked, explained."""
