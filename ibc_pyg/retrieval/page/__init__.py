"""HTML page of a search: each query with its neighbours as pictures."""
