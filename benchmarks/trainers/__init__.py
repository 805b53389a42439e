"""The same training done by ours and by others, each in a process of its own: `python -m benchmarks.trainers`."""

SIDES = {
    "ours": "ours:train",
    "bare": "bare_loop:train",
    "graphed": "graphed_loop:train",
    "hf": "hf_trainer:train",
    "hf-grouped": "hf_trainer:train_grouped",
    "lightning": "lightning_trainer:train",
    "accelerate": "accelerate_loop:train",
}
"""Each side's module here and the function that trains."""
