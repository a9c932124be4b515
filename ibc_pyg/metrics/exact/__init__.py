"""Exact counting of closer items, whatever float32 rounds."""
