"""Choose device, threads and precision without importing torch."""
