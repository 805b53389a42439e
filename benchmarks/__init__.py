"""Benchmarks of modelworks against other tools, in one session: `python -m benchmarks`."""
