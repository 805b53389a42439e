"""Prefect flows: training and the scheduler."""
