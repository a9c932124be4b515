"""Scores of embeddings and of whole runs."""
