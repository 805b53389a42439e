"""What a training reports: events, progress, validation, and when to stop."""
