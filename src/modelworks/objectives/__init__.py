"""What a model learns, one file per kind: targets to a loss, outputs to answers and metrics.

Evaluation, gate, reports, registry and serving work on the interface in `base.py` and name no kind.
"""
