#!/usr/bin/env bash
# Run tests with the lowest version of every dependency that pyproject.toml allows, in an environment
# of its own, .venv-minimum. Arguments go to pytest; without any, the normal suite runs.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.venv-minimum
[ -x $venv/bin/python ] || "${PYTHON:-python3}" -m venv $venv
$venv/bin/pip install --quiet packaging
$venv/bin/python .ci/minimum_versions.py cpu docs hub losses map onnx parquet qdrant serve shards timm test \
    > $venv/pins.txt
$venv/bin/pip install --quiet --only-binary :all: -r $venv/pins.txt
$venv/bin/pip install --quiet --no-deps -e .
OMP_NUM_THREADS=1 $venv/bin/python -m pytest "$@"
