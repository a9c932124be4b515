"""The loaders, one file per data set; `ibc_pyg.data.registry` finds them by name."""
