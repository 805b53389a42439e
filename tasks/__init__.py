"""Prefect tasks, one file per stage: retry and tracking policy around one library call."""
