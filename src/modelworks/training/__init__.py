"""The trainer program (`python -m modelworks.training JOB.json`) and its launchers."""
