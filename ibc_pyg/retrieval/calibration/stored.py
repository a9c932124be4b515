"""Calibration of an index: made from its labelled pictures, kept in its catalogue."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass

import numpy as np

from ibc_pyg.errors import RunError, program
from ibc_pyg.retrieval.calibration.thresholds import Rates, Threshold, count_pairs
from ibc_pyg.retrieval.store.catalogue import Cursor, read_meta, write_meta
from ibc_pyg.retrieval.store.vectors import Vectors

_KEY = "calibration"


@dataclass(frozen=True)
class Calibration:
    """Rates of an index.

    Attributes:
        source: The classes that were compared, as a phrase.
        held_out: Whether the model is not known to have been trained on them.
        model: Digest of the fingerprint of the model.
        rates: The counts.
    """

    source: str
    held_out: bool
    model: str
    rates: Rates

    def __str__(self) -> str:
        """Return source and counts."""
        r = self.rates
        return (
            f"{self.source}: {r.pictures:,} pictures of {r.classes:,} classes, {r.same:,} pairs of "
            f"one class and {r.other:,} of two"
        )

    def store(self, sql: Cursor) -> None:
        """Write the calibration into a catalogue."""
        write_meta(sql, **{_KEY: json.dumps(asdict(self))})

    @classmethod
    def of(cls, sql: Cursor, model: str) -> Calibration | None:
        """Return the calibration of a catalogue; None without one, or if it is of another model.

        Raises:
            RunError: If it is damaged.
        """
        text = read_meta(sql, _KEY)
        if text is None:
            return None
        try:
            values = json.loads(str(text))
            rates = values.pop("rates")
            thresholds = [Threshold(**each) for each in rates.pop("thresholds")]
            found = cls(rates=Rates(thresholds=thresholds, **rates), **values)
            found.rates.strangers(0.0)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise RunError(
                "the calibration of the index is damaged; repeat it: "
                f"{program()} index calibrate INDEX"
            ) from error
        return found if found.model == model else None


def make_calibration(
    sql: Cursor,
    vectors: Vectors,
    model: str,
    trained: Collection[str] | None,
    seed: int,
) -> Calibration:
    """Calibrate an index by the classes that its model was not trained on.

    Args:
        sql: Cursor of its catalogue.
        vectors: Its vectors, `[N, D]`.
        model: Digest of the fingerprint of its model.
        trained: Classes that the model was trained on; None if they are not known.
        seed: Seed of the drawing of pictures.

    Raises:
        RunError: If too few pictures have a class.
    """
    # A content whose files are of several classes is left out.
    found = sql.execute(
        "SELECT row, min(label) FROM names WHERE removed = 0 AND label IS NOT NULL "
        "GROUP BY row HAVING min(label) = max(label) ORDER BY row"
    ).fetchall()
    known = {label for _, label in found}
    held_out = known - set(trained or ())
    source = "all classes of the index; those the model was trained on are not known"
    if trained is not None:
        source = "classes that the model was not trained on"
        if len(held_out) < 2:
            held_out = known
            source = "all classes of the index, trained ones included: strangers are rarer here"
    labelled = [(row, label) for row, label in found if label in held_out]
    rows = np.array([row for row, _ in labelled], np.int64)
    classes = np.unique([label for _, label in labelled], return_inverse=True)[1]
    rates = count_pairs(vectors, rows, classes.astype(np.int64), seed)
    is_held_out = trained is None or held_out.isdisjoint(trained)
    return Calibration(source, is_held_out, model, rates)
