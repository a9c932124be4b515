"""Search by image."""
