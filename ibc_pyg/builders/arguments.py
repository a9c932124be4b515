"""Errors about constructor arguments in a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ibc_pyg.errors import ConfigError, UserError


@contextmanager
def argument_errors(field: str, owner: str, given: Mapping[str, Any]) -> Iterator[None]:
    """Raise the errors of a constructor as ConfigError that names the field.

    Args:
        field: Field of the configuration, such as `model.mpn_args`.
        owner: Name of the constructed object.
        given: Arguments of the field.
    """
    try:
        yield
    except UserError:
        raise
    except TypeError as error:
        if "argument" in str(error):
            raise ConfigError(f"{field}: {owner}: {str(error).split('() ')[-1]}") from error
        if not given:
            raise
        # An argument of a wrong type, such as a string for a number.
        raise ConfigError(f"{field}: {owner}: a value of {dict(given)}: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{field}: {owner}: {error}") from error
