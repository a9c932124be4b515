"""Pictures: decoding, where they lie, and the cache of decoded ones."""
