"""Order in collections of pictures: duplicates, leaks, groups, label errors, maps."""
