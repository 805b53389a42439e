"""Register, find and trace model versions."""
