"""What this machine computes with, found without importing torch: device, threads and precision."""
