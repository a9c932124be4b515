"""Errors that a person can mend: the command line prints them on one line and exits with 2."""


class UserError(Exception):
    """Something in the input is wrong; the message names the field or file and what to do."""


class ConfigError(UserError, ValueError):
    """A field of the configuration is out of range or does not fit the others."""


class DatasetError(UserError):
    """A data set, an annotation file or an image cannot be used as it is."""


class RunError(UserError):
    """A run folder, a checkpoint or the environment cannot do what was asked."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; the name of its kind where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]
