"""Tracking of scalars and pictures: JSONL and Weights & Biases."""
