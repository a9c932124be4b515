"""Inference: open runs, extract embeddings, refine and combine them."""
