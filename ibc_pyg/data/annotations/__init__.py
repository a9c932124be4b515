"""Annotation files and folders of images: reading, checking, and building tables from them."""
