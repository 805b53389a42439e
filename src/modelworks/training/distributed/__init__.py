"""Distributed training with DDP and FSDP."""
