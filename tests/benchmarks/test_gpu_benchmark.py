"""benchmarks/gpu.py collects what its parts write, print and break; the parts are made up."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def gpu():
    spec = importlib.util.spec_from_file_location("gpu_benchmark", ROOT / "benchmarks/gpu.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def code(text, *words):
    return ("-c", text, *words)


def test_each_part_fails_alone(gpu, tmp_path):
    write = (
        "import sys\n"
        "open(sys.argv[1], 'w').write('[1, 2]')\n"
        "open(sys.argv[2], 'w').write('| a |\\n|---|\\n')\n"
    )
    parts = [
        gpu.Part("aborts", code("import os; print('before', flush=True); os.abort()")),
        gpu.Part("hangs", code("import time; time.sleep(60)"), timeout_s=1),
        gpu.Part("damaged", code("import sys; open(sys.argv[1], 'w').write('{')", "{json}")),
        gpu.Part("good", code(write, "{json}", "{markdown}")),
    ]
    data, text, passed = gpu.collect("NVIDIA H100 80GB HBM3", parts, tmp_path)
    assert not passed
    assert data.name == "gpu-NVIDIA-H100-80GB-HBM3.json"
    found = {part["name"]: part for part in json.loads(data.read_text())["parts"]}
    assert found["aborts"]["status"].startswith("failed (exit status")
    assert found["aborts"]["tail"].startswith("before")
    assert found["hangs"]["status"] == "timed out after 1 s"
    assert found["damaged"]["status"] == "failed (its JSON file is damaged)"
    assert found["good"]["status"] == "passed"
    assert found["good"]["numbers"] == [1, 2]
    assert "| hangs | timed out after 1 s |" in text.read_text()
    assert "| a |" in text.read_text()


@pytest.mark.slow
def test_commands_of_the_parts_are_known(gpu):
    for part in gpu.parts():
        if part.command[0] == "-m":
            continue
        words = [word for word in part.command[1:] if word.startswith("--")]
        helped = subprocess.run(
            [sys.executable, part.command[0], "--help"], cwd=ROOT, capture_output=True, text=True,
            check=True,
        ).stdout  # fmt: skip
        assert all(word in helped for word in words), part.name
