"""Losses on embeddings, nodes and logits."""
