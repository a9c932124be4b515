"""Refiner trained on neighbourhoods of training classes."""
