"""Decoding of images, their sources, and the cache of decoded images."""
