"""Side-by-side measurements, ours against peers, in one session: `python -m benchmarks`."""
