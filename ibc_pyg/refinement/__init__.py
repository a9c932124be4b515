"""Refinement at search time."""
