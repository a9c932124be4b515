"""Index in a Qdrant server: uploaded once, searched with filters there."""
