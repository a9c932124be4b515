"""From embeddings to graphs: small pure functions."""
