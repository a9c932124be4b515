"""Setting up, training, evaluating, checkpointing."""
