"""Time left of many runs, with a clock of the test."""

from ibc_pyg.jobs.time_left import TimeLeft


def test_the_mean_time_of_what_ended_is_taken_for_the_rest():
    now = 0.0
    left = TimeLeft(6, 2, clock=lambda: now)
    assert left.note("done", "done before") == "done before; 1 of 6 done"
    assert left.note("a", "started") == "started"
    assert left.note("b", "resumed on GPU 1") == "resumed on GPU 1"
    now = 60.0
    # b is expected to end at once; two of five others follow side by side.
    assert left.note("a", "finished") == "finished; 2 of 6 done, about 1:30 left"
    assert left.note("c", "started") == "started"
    now = 80.0
    left.note("b", "failed: it diverged")
    now = 130.0
    # Mean of 60, 80 and 70; two runs are open, none runs.
    assert left.note("c", "finished") == "finished; 4 of 6 done, about 1:10 left"
    left.note("d", "started")
    left.note("d", "finished")
    assert left.note("e", "finished") == "finished; 6 of 6 done"


def test_a_line_of_progress_is_neither_a_begin_nor_an_end():
    left = TimeLeft(2, 1, clock=lambda: 0.0)
    left.note("a", "started")
    assert left.note("a", "train 20/400 loss 3.1") == "train 20/400 loss 3.1"
    assert left.note("a", "finished").startswith("finished; 1 of 2 done")


def test_a_stopped_run_is_not_done():
    left = TimeLeft(2, 1, clock=lambda: 0.0)
    left.note("a", "started")
    assert left.note("a", "stopped") == "stopped"
    assert left.note("b", "finished") == "finished; 1 of 2 done"
