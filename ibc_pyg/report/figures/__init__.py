"""Figures of a report: curves, maps and pictures."""
