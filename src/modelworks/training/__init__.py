"""The trainer: a program of its own (`python -m modelworks.training JOB.json`) and how it is launched."""
