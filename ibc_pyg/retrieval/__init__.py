"""Retrieval: search for images by their embeddings."""
