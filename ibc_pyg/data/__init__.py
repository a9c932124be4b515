"""Data sets, batch samplers, transforms and loaders."""
