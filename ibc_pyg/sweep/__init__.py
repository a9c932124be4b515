"""Searches over hyper-parameters, in W&B's format and without its server."""
