"""Similarities of pictures of one class and of two: thresholds, and how often strangers match."""
