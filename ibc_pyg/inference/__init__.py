"""Trained models at work: opening runs, extracting embeddings, refining them."""
