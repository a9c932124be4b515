"""Groups in which every pair passes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ibc_pyg.collections.duplicates.candidates import Pairs

Verdict = Callable[[Pairs], npt.NDArray[np.bool_]]
"""Whether pairs are copies, bool `[P]`."""


def complete_groups(
    pairs: Pairs, similarity: npt.NDArray[np.float32], verdict: Verdict
) -> list[list[int]]:
    """Join pictures to groups of which every pair passes, the most similar pairs first.

    Chains do not form: of pictures A, B, C of which A and C do not pass, two stay together.

    Args:
        pairs: Pairs that pass, by places whose order does not depend on that of the files.
        similarity: Their similarities, `[P]`.
        verdict: Judges pairs that were not compared yet.

    Returns:
        Groups of two pictures or more, ascending.
    """
    known = dict.fromkeys(map(tuple, pairs.tolist()), True)
    group = {int(place): [int(place)] for place in np.unique(pairs)}
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -similarity))
    for i, j in pairs[order].tolist():
        left, right = group[i], group[j]
        if left is right:
            continue
        across = [(min(a, b), max(a, b)) for a in left for b in right]
        if any(known.get(pair) is False for pair in across):
            continue
        new = [pair for pair in across if pair not in known]
        if new:
            known.update(zip(new, verdict(np.array(new, np.int64)).tolist(), strict=True))
        if all(known[pair] for pair in across):
            joined = sorted(left + right)
            group.update(dict.fromkeys(joined, joined))
    groups = {each[0]: each for each in group.values() if len(each) > 1}
    return [groups[first] for first in sorted(groups)]
