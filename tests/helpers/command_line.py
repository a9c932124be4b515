"""Commands of the command line, called in this process."""

from ibc_pyg.cli import run


def works(capsys, *words):
    """Run a command that must succeed; return its output."""
    code = run([str(word) for word in words])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


def fails(capsys, *words):
    """Run a command that must fail; return its error, which is one line."""
    code = run([str(word) for word in words])
    captured = capsys.readouterr()
    assert code == 2, captured.out
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err.removesuffix("\n")
