"""Names of the metrics."""

from __future__ import annotations

from ibc_pyg.metrics.names import HEADLINES, is_metric, metric_names


def test_metrics_are_sorted_and_other_names_left_out() -> None:
    summary = ["ARI", "R@10", "seed", "R@2", "NMI", "R@x", "R@", "kmeans_seed", "MAP@R", "raw"]
    assert metric_names(summary) == ["R@2", "R@10", "MAP@R", "NMI", "ARI"]
    assert [name for name in summary if is_metric(name)] == ["ARI", "R@10", "R@2", "NMI", "MAP@R"]


def test_headlines_are_metrics() -> None:
    assert metric_names(HEADLINES) == list(HEADLINES)
