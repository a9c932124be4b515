"""Grids of runs over settings and seeds, and the one table that they make."""
