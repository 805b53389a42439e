"""The gate: findings and the decision."""
