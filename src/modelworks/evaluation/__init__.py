"""A model's worth, with its uncertainty: predictions, metrics, comparison, the gate and the report."""
