"""The embedded data set: characters drawn in many typefaces."""
