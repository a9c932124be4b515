"""Refined vectors of an index: derived from its vectors, stored beside them."""
