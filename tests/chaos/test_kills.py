"""kill -9 at any moment: the resumed run ends as the uninterrupted one, bit by bit."""

import sys
from collections import Counter
from itertools import chain, count

import pytest

from tests.helpers.chaos_runs import (
    RELOADS,
    RETRAINS,
    AtRandom,
    Kill,
    WhilePartial,
    WhileRecording,
    outcome,
    train_whole,
    train_with_kills,
)

FIT, CHECKPOINT = "ibc_pyg.training.fit:", "ibc_pyg.runs.checkpoint:"
SELECTION = "ibc_pyg.training.selection:"
TRAIN, STATE = "ibc_pyg.training.run:", "ibc_pyg.training.snapshot:"
LOG = "ibc_pyg.track.jsonl:JsonlTracker.log"
SYNC = "ibc_pyg.files:os.fsync"

SHORT = [
    Kill("step", "ibc_pyg.training.step:_clip_gradients", 9),
    Kill("evaluation", SELECTION + "score_retrieval", 2, "after"),
    Kill("checkpoint", CHECKPOINT + "write_atomically", 2),
    Kill("history", LOG, 11, "torn"),
    Kill("summary", TRAIN + "write_json", 1),
]
"""One of each kind, all in the life of one run."""

LONG = [
    Kill("start", "ibc_pyg.runs.run_folder:write_json", 1),
    Kill("start", "ibc_pyg.track.jsonl:JsonlTracker.__init__", 1, "after"),
    Kill("step", FIT + "train_step", 1),
    Kill("step", FIT + "train_step", 30, "after"),
    Kill("step", "ibc_pyg.training.step:_clip_gradients", 50),
    Kill("step", FIT + "train_step", 70),
    Kill("evaluation", SELECTION + "extract_split", 1, "after"),
    Kill("evaluation", SELECTION + "score_retrieval", 2),
    Kill("evaluation", SELECTION + "score_retrieval", 2, "after"),
    Kill("best weights", SELECTION + "save_weights", 1, "after"),
    Kill("best weights", STATE + "write_atomically", 2),
    Kill("best weights", SELECTION + "save_weights", 2, "after"),
    Kill("checkpoint", CHECKPOINT + "save", 1, "after"),
    Kill("checkpoint", CHECKPOINT + "write_atomically", 1, "after"),
    Kill("checkpoint", CHECKPOINT + "_link", 1, "after"),
    Kill("checkpoint", CHECKPOINT + "write_atomically", 4, "after"),
    Kill("checkpoint", CHECKPOINT + "Path.rename", 1),
    Kill("checkpoint", CHECKPOINT + "sync_folder", 1),
    Kill("checkpoint", CHECKPOINT + "sync_folder", 2, "after"),
    Kill("sync", SYNC, 3),
    Kill("sync", SYNC, 5, "after"),
    Kill("sync", SYNC, 8),
    Kill("history", LOG, 1, "torn"),
    Kill("history", LOG, 40, "torn"),
    Kill("history", LOG, 60, "after"),
    Kill("end", "ibc_pyg.inference.eval_set:EvalSet.save", 1),
    Kill("end", TRAIN + "write_json", 1),
    Kill("end", TRAIN + "write_json", 1, "after"),
    Kill("end", TRAIN + "make_report", 1),
    Kill("end", "ibc_pyg.report.page:render", 1, "after"),
]
"""Each in a run of its own."""

SETTINGS = {"reloads": RELOADS, "retrains": RETRAINS}
RANDOM = 20


@pytest.fixture(scope="module", params=SETTINGS)
def whole(request, tmp_path_factory):
    """Options, what comes out without kills, and how long it takes."""
    options = SETTINGS[request.param]
    run, seconds = train_whole(options, tmp_path_factory.mktemp("whole") / "0")
    return options, outcome(run), seconds


def test_a_run_that_dies_five_times(whole, tmp_path):
    options, expected, _ = whole
    run, hits = train_with_kills(options, tmp_path / "0", SHORT)
    assert all(hits), hits
    assert outcome(run) == expected


@pytest.mark.slow
def test_chaos(whole, tmp_path):
    """Every kind of moment alone, moments seen from outside, and random ones in one run each."""
    options, expected, seconds = whole
    outside = [WhilePartial(), WhilePartial(), WhileRecording(3), WhileRecording(45)]
    alone = [[kill] for kill in [*LONG, *outside]]
    # Runs that die again and again, at moments drawn anew, until there are enough of them.
    again = ([AtRandom(seconds, 5 * seed + place) for place in range(5)] for seed in count())
    survived, late = Counter(), Counter()
    for number, kills in enumerate(chain(alone, again)):
        run, hits = train_with_kills(options, tmp_path / str(number), kills)
        assert outcome(run) == expected, kills
        for kill, hit in zip(kills, hits, strict=False):
            (survived if hit else late)[kill.kind] += 1
        if survived[AtRandom.kind] >= RANDOM:
            break
    lines = [f"  {kind}: {count}" for kind, count in survived.items()]
    total = sum(survived.values())
    sys.stdout.write("\n".join([f"\nsurvived {total} kills:", *lines, f"  (late: {dict(late)})\n"]))
    assert not {kill.kind for kill in LONG} & late.keys(), late
