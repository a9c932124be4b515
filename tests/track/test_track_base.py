from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from ibc_pyg.track import JsonlTracker, MultiTracker, Picture, Record, Tracker, WandbTracker
from ibc_pyg.track.base import check_picture


class Recorder:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.calls.append(f"log {step} {dict(values)}")

    def image(self, step: int, name: str, picture: Picture, caption: str = "") -> None:
        self.calls.append(f"image {step} {name} {picture.shape} {caption}")

    def summary(self, values: Mapping[str, float]) -> None:
        self.calls.append(f"summary {dict(values)}")

    def rewind(self, records: Sequence[Record]) -> None:
        self.calls.append(f"rewind {list(records)}")

    def close(self) -> None:
        self.calls.append("close")


class Broken(Recorder):
    def log(self, step: int, values: Mapping[str, float]) -> None:
        super().log(step, values)
        raise OSError("disk full")

    def close(self) -> None:
        raise RuntimeError("cannot close")


def use(tracker: Tracker) -> None:
    tracker.log(1, {"loss": 2.0})
    tracker.log(2, {"loss": 1.0})
    tracker.image(2, "gallery", np.zeros((4, 5, 3), np.uint8), "ten nearest")
    tracker.rewind([{"step": 1, "time": 0.0, "loss": 2.0}])
    tracker.summary({"R@1": 0.5})
    tracker.close()


def test_failure_of_one_does_not_stop_the_others(caplog):
    expected = Recorder()
    use(expected)
    first, broken, last = Recorder(), Broken(), Recorder()
    with caplog.at_level(logging.WARNING):
        use(MultiTracker([first, broken, last]))
    assert first.calls == last.calls == expected.calls
    assert broken.calls == expected.calls[:-1], "a failed tracker is still called"
    assert [record.getMessage().count("disk full") for record in caplog.records] == [1]


def test_interrupt_is_not_swallowed():
    class TrainingInterrupted(Recorder):
        def summary(self, values: Mapping[str, float]) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        use(MultiTracker([TrainingInterrupted()]))


def test_all_trackers_keep_the_protocol(tmp_path):
    trackers = [JsonlTracker(tmp_path / "m.jsonl"), WandbTracker("disabled"), MultiTracker([])]
    for tracker in trackers:
        assert isinstance(tracker, Tracker)
        use(tracker)
        tracker.close()


@pytest.mark.parametrize(
    "picture",
    [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)],
)
def test_picture_of_another_kind_is_refused(picture):
    with pytest.raises(ValueError, match=r"picture must be uint8 \[H, W, 3\]"):
        check_picture(picture)
