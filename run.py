"""The door to the command line: `python run.py --help`."""

from ibc_pyg.cli import main

if __name__ == "__main__":
    main()
