"""`python -m ibc_pyg COMMAND`."""

from ibc_pyg.cli import main

if __name__ == "__main__":
    main()
