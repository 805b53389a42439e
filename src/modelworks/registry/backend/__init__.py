"""Access to the tracking store: undocumented parts of MLflow that are used, each with a contract test."""
