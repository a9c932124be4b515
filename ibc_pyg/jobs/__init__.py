"""Worker processes that train many runs one after another."""
