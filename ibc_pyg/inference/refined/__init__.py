"""Refinement of descriptors at test time by a trained network."""
