"""Search by embedding."""
