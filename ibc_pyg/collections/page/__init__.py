"""HTML pages of collections."""
