"""Glyphs, the built-in data set: characters drawn in many fonts."""
