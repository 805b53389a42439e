"""Objectives, one file per kind: the loss, predictions and metrics of a model.

Evaluation, gate, reports, registry and serving use only the interface in `base.py`.
"""
