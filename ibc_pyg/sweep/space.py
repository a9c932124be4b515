"""Values of a hyper-parameter, by the distributions of W&B sweeps.

https://docs.wandb.ai/guides/sweeps/sweep-config-keys
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ibc_pyg.errors import ConfigError

_RANGE = ({"min", "max"}, set[str]())
_NORMAL = (set[str](), {"mu", "sigma"})

# Distributions, each with its required and its optional keys.
_KEYS: Mapping[str, tuple[set[str], set[str]]] = {
    "constant": ({"value"}, set()),
    "categorical": ({"values"}, set()),
    "categorical_w_probabilities": ({"values", "probabilities"}, set()),
    "int_uniform": _RANGE,
    "uniform": _RANGE,
    "log_uniform": _RANGE,
    "log_uniform_values": _RANGE,
    "normal": _NORMAL,
    "log_normal": _NORMAL,
}
_QUANTIZED = {
    "uniform", "log_uniform", "log_uniform_values", "normal", "log_normal",
}  # fmt: skip


_MOST_EXPONENT = 700  # e ** x overflows beyond it.
_MOST = 10**15
_LEAST_STEP = 1e-12


@dataclass(frozen=True)
class Parameter:
    """One hyper-parameter.

    Attributes:
        name: Field of an experiment, such as `train.lr`.
        distribution: Distribution by W&B's name, without `q_`.
        keys: Keys of the distribution: `values`, or `min` and `max`, ...
        q: Values are rounded to multiples of it; None: not rounded.
    """

    name: str
    distribution: str
    keys: Mapping[str, Any]
    q: float | None = None

    def draw(self, seed: int, trial: int) -> Any:
        """Return the value of a trial, which does not depend on the other parameters.

        Args:
            seed: Seed of the sweep.
            trial: Number of the trial, from 0.

        Raises:
            ConfigError: If the value is not finite.
        """
        rng = np.random.default_rng([seed, trial, zlib.crc32(self.name.encode())])
        value = _DRAW[self.distribution](rng, self.keys)
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(
                f"parameters.{self.name}: trial {trial} draws {value}; narrow the distribution"
            )
        if self.q is None:
            return value
        rounded = round(value / self.q) * self.q
        # Twelve digits hide the rounding error of the product.
        return rounded if isinstance(self.q, int) else float(f"{rounded:.12g}")

    def choices(self) -> Sequence[Any]:
        """Return all values, for a grid.

        Raises:
            ConfigError: If the distribution is continuous.
        """
        if self.distribution == "constant":
            return [self.keys["value"]]
        if "values" in self.keys:
            return list(self.keys["values"])
        if self.distribution == "int_uniform":
            return range(self.keys["min"], self.keys["max"] + 1)
        raise ConfigError(
            f"parameters.{self.name}: a grid needs values, not the distribution "
            f"{self.distribution}; list them, or set method: random"
        )


def make_parameter(name: str, described: object) -> Parameter:
    """Parse one entry of `parameters`.

    Raises:
        ConfigError: If a key is missing, unknown or out of range.
    """
    where = f"parameters.{name}"
    if not isinstance(described, Mapping):
        raise ConfigError(f"{where} must hold value, values, or min and max, not {described!r:.60}")
    keys = dict(described)
    if "parameters" in keys:
        raise ConfigError(f"{where}: write nested fields with points, as {name}.field")
    full_name = str(keys.pop("distribution", None) or _default_distribution(keys))
    distribution = full_name.removeprefix("q_")
    quantized = distribution != full_name
    if distribution not in _KEYS or (quantized and distribution not in _QUANTIZED):
        known = ", ".join([*_KEYS, *(f"q_{each}" for each in _KEYS if each in _QUANTIZED)])
        raise ConfigError(f"{where}: no distribution {full_name!r}; choose one of {known}")
    needed, taken = _KEYS[distribution]
    if missing := needed - keys.keys():
        raise ConfigError(f"{where}: {full_name} needs {' and '.join(sorted(missing))}")
    if unknown := keys.keys() - needed - taken - ({"q"} if quantized else set()):
        raise ConfigError(f"{where}: {full_name} has no {', '.join(sorted(map(str, unknown)))}")
    q = keys.pop("q", 1.0) if quantized else None
    _check_values(where, distribution, keys, q)
    return Parameter(name, distribution, keys, q)


def _default_distribution(keys: Mapping[str, Any]) -> str:
    if "value" in keys:
        return "constant"
    if "probabilities" in keys:
        return "categorical_w_probabilities"
    if "values" in keys:
        return "categorical"
    bounds = (keys.get("min"), keys.get("max"))
    return "int_uniform" if all(isinstance(bound, int) for bound in bounds) else "uniform"


def _check_values(where: str, distribution: str, keys: Mapping[str, Any], q: object) -> None:
    values = keys.get("values", [None])
    if not (isinstance(values, list) and values):
        raise ConfigError(f"{where}.values must be a list with one value or more, not {values!r}")
    for name, number in keys.items():
        if name in ("value", "values", "probabilities"):
            continue
        # YAML reads 1e-3, without a decimal point, as text.
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ConfigError(f"{where}.{name} must be a number, not {number!r}; write 1.0e-3")
        if isinstance(number, float) and not math.isfinite(number):
            raise ConfigError(f"{where}.{name} must be finite, not {number}")
        if abs(number) > _MOST:
            raise ConfigError(f"{where}.{name} must be at most {_MOST:.0e} in absolute value")
    if q is not None and (
        isinstance(q, bool) or not isinstance(q, int | float) or not _LEAST_STEP <= q <= _MOST
    ):
        raise ConfigError(
            f"{where}.q must be a number from {_LEAST_STEP} to {_MOST:.0e}, not {q!r}"
        )
    if "min" in keys:
        if not keys["min"] <= keys["max"]:
            raise ConfigError(f"{where}: min {keys['min']} is above max {keys['max']}")
        exponents = distribution == "log_uniform"
        if exponents and max(-keys["min"], keys["max"]) > _MOST_EXPONENT:
            raise ConfigError(
                f"{where}: {distribution} takes min and max as exponents of e; "
                f"for the values themselves write {distribution}_values"
            )
        if distribution.endswith("_values") and keys["min"] <= 0:
            raise ConfigError(f"{where}.min must be > 0, not {keys['min']}")
        if distribution == "int_uniform" and not all(
            isinstance(keys[name], int) for name in ("min", "max")
        ):
            raise ConfigError(f"{where}: int_uniform needs whole numbers for min and max")
    if keys.get("sigma", 1) < 0:
        raise ConfigError(f"{where}.sigma must be >= 0, not {keys['sigma']}")
    if "probabilities" in keys:
        shares = keys["probabilities"]
        if (
            not isinstance(shares, list)
            or len(shares) != len(keys["values"])
            or not all(isinstance(share, int | float) and share >= 0 for share in shares)
            or not math.isclose(sum(shares), 1, abs_tol=1e-6)
        ):
            raise ConfigError(f"{where}.probabilities must be one share for each value, with sum 1")


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    # Keep rounded values within the range.
    return float(np.clip(np.exp(rng.uniform(low, high)), math.exp(low), math.exp(high)))


_DRAW: Mapping[str, Callable[[np.random.Generator, Mapping[str, Any]], Any]] = {
    "constant": lambda rng, keys: keys["value"],
    "categorical": lambda rng, keys: keys["values"][rng.integers(len(keys["values"]))],
    "categorical_w_probabilities": lambda rng, keys: keys["values"][
        rng.choice(
            len(keys["values"]), p=np.array(keys["probabilities"]) / sum(keys["probabilities"])
        )
    ],
    "int_uniform": lambda rng, keys: int(rng.integers(keys["min"], keys["max"], endpoint=True)),
    "uniform": lambda rng, keys: float(rng.uniform(keys["min"], keys["max"])),
    "log_uniform": lambda rng, keys: _log_uniform(rng, keys["min"], keys["max"]),
    "log_uniform_values": lambda rng, keys: _log_uniform(
        rng, math.log(keys["min"]), math.log(keys["max"])
    ),
    "normal": lambda rng, keys: float(rng.normal(keys.get("mu", 0.0), keys.get("sigma", 1.0))),
    "log_normal": lambda rng, keys: float(
        rng.lognormal(keys.get("mu", 0.0), keys.get("sigma", 1.0))
    ),
}
