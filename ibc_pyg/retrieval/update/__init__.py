"""Bringing an index up to date: listing, reading, embedding, and changes by hand."""
