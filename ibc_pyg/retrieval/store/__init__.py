"""Files of an index: the SQLite catalogue, whose transactions are its commits, and the vectors."""
