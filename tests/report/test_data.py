from __future__ import annotations

import numpy as np
import pytest

from ibc_pyg.report import AttentionMap, MapPoints

WEIGHTS = np.full((2, 4, 4), 0.25, np.float32)


def test_runs_count_neighbouring_labels():
    attention = AttentionMap(WEIGHTS, ["a", "a", "b", "a"])
    assert attention.runs == [("a", 2), ("b", 1), ("a", 1)]


@pytest.mark.parametrize(
    ("weights", "labels", "null", "message"),
    [
        (WEIGHTS[0], "aabb", None, r"weights must be \[H, N, N\]"),
        (WEIGHTS[:, :3], "aab", None, r"weights must be \[H, N, N\]"),
        (WEIGHTS[:0], "aabb", None, r"weights must be \[H, N, N\]"),
        (WEIGHTS, "aab", None, "labels must be 4 names, got 3"),
        (WEIGHTS, "aabb", np.zeros(4, np.float32), r"null_share must be \[2, 4\]"),
    ],
)
def test_attention_of_another_shape_is_refused(weights, labels, null, message):
    with pytest.raises(ValueError, match=message):
        AttentionMap(weights, list(labels), null)


@pytest.mark.parametrize(
    ("xy", "labels", "thumbs", "message"),
    [
        (np.zeros((3, 3)), [0, 0, 0], {}, r"xy must be \[M, 2\]"),
        (np.zeros((3, 2)), [0, 0], {}, r"labels must be \[3\]"),
        (np.zeros((3, 2)), [0, 1, 2], {}, r"labels must be in \[0, 2\)"),
        (np.zeros((3, 2)), [0, 1, -1], {}, r"labels must be in \[0, 2\)"),
        (np.zeros((3, 2)), [0, 1, 1], {3: np.zeros((2, 2), np.uint8)}, "thumbs must have rows"),
    ],
)
def test_points_out_of_range_are_refused(xy, labels, thumbs, message):
    with pytest.raises(ValueError, match=message):
        MapPoints(xy.astype(np.float32), np.array(labels), ["a", "b"], thumbs)
