"""Approximate search for nearest rows: a file derived from the vectors, which may be deleted."""
