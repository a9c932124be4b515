"""Messages about the arguments that a configuration gives a constructor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ibc_pyg.errors import ConfigError, UserError


@contextmanager
def argument_errors(field: str, owner: str, given: Mapping[str, Any]) -> Iterator[None]:
    """Raise a constructor's errors as a ConfigError that names the field.

    Args:
        field: The field of the configuration, such as `model.mpn_args`.
        owner: The name of what is constructed.
        given: The arguments of the field.
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
        # A text where a number should be, and the like.
        raise ConfigError(f"{field}: {owner}: a value of {dict(given)}: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{field}: {owner}: {error}") from error
