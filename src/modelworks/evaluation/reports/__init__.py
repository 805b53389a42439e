"""Pages and plots of an evaluation and of the gate."""
