"""Access to the tracking store. Undocumented parts of MLflow have contract tests."""
