"""Explanations: parts of two pictures that make them alike, and the attention within a batch."""
