"""Modalities: decode and describe one kind of content and make a model's input from it."""
