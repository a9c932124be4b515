"""The benchmarks' protocols."""

from __future__ import annotations

from ibc_pyg.metrics import PROTOCOLS, protocol_for


def test_protocols_are_the_published_ones() -> None:
    assert {name: p.ks for name, p in PROTOCOLS.items()} == {
        "cub": (1, 2, 4, 8),
        "cars": (1, 2, 4, 8),
        "sop": (1, 10, 100, 1000),
        "inshop": (1, 10, 20, 30, 40),
    }
    assert [name for name, p in PROTOCOLS.items() if p.query_gallery] == ["inshop"]
    assert protocol_for("my-folder").ks == (1, 2, 4, 8)
