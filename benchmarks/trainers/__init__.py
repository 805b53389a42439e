"""The same training with our trainer and other libraries, in separate processes: `python -m benchmarks.trainers`."""

SIDES = {
    "ours": "ours:train",
    "bare": "bare_loop:train",
    "graphed": "graphed_loop:train",
    "hf": "hf_trainer:train",
    "hf-grouped": "hf_trainer:train_grouped",
    "lightning": "lightning_trainer:train",
    "accelerate": "accelerate_loop:train",
}
"""The module and the training function of each side."""
