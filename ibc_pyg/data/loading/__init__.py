"""Batches of images: datasets, loaders, batch keys, reusable buffers."""
