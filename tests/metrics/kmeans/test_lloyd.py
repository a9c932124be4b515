"""k-means on a GPU whose library fails, by a faiss that claims to see one."""

import os

import faiss
import numpy as np
import pytest

from ibc_pyg.metrics.kmeans import lloyd


@pytest.fixture
def points(monkeypatch):
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    return np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)


def run(points):
    return lloyd.lloyd(points, points[:5], 20, 1e-5, 0)


def test_an_abort_of_the_child_costs_nothing(points, monkeypatch, tmp_path):
    child = tmp_path / "child.py"
    child.write_text("import os\nos.abort()\n")
    expected = lloyd.iterate(points, points[:5], 20, 1e-5, 0, gpu=False)
    monkeypatch.setattr(lloyd, "CHILD", child)
    assigned, inertia, on_gpu = run(points)
    assert not on_gpu
    np.testing.assert_array_equal(assigned, expected[0])
    assert inertia == expected[1]


def test_a_missing_gpu_in_the_child_costs_nothing(points, caplog):
    # The CPU build of faiss has no GPU index.
    assigned, _, on_gpu = run(points)
    if not on_gpu:
        assert "k-means runs on the CPU" in caplog.text
    assert len(assigned) == len(points)


def test_the_child_sees_one_gpu_and_its_result_counts(points, monkeypatch, tmp_path):
    child = tmp_path / "child.py"
    child.write_text(
        "import os, sys, numpy as np\n"
        "x = np.load(sys.argv[1] + '/points.npy')\n"
        "assert os.environ['CUDA_VISIBLE_DEVICES'] == '3'\n"
        "np.save(sys.argv[1] + '/assigned.npy', np.arange(len(x)))\n"
        "np.save(sys.argv[1] + '/inertia.npy', np.array(0.5))\n"
    )
    monkeypatch.setattr(lloyd, "CHILD", child)
    monkeypatch.setitem(os.environ, "CUDA_VISIBLE_DEVICES", "3,4")
    assigned, inertia, on_gpu = run(points)
    assert on_gpu
    assert inertia == 0.5
    np.testing.assert_array_equal(assigned, np.arange(len(points)))
