"""Several processes in one training: DDP and FSDP."""
