#!/usr/bin/env bash
# Build the wheel and the source archive, install the wheel in a fresh environment, and use it from
# an empty folder. Needs the package index: about 3.2 GB with the CUDA wheels of PyTorch.
#   PYTHON: the interpreter of both environments; OUT: where the files go.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
out=${OUT:-dist}
extras="cpu losses timm onnx parquet serve hub qdrant shards map docs"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m venv "$work/build"
"$work/build/bin/pip" install --quiet "build>=1.2" "twine>=6"
rm -f "$out"/ibc_pyg-*
"$work/build/bin/python" -m build --outdir "$out" .
"$work/build/bin/twine" check --strict "$out"/ibc_pyg-*
wheel=$(realpath "$out"/ibc_pyg-*.whl)

echo "fresh environment"
"$python" -m venv "$work/fresh"
"$work/fresh/bin/pip" install --quiet "$wheel[cpu,serve]"
"$work/fresh/bin/pip" check
for extra in $extras; do
    echo "extra $extra resolves"
    "$work/fresh/bin/pip" install --quiet --dry-run "$wheel[$extra]"
done

# From an empty folder: nothing is read from the source tree.
ibc="$work/fresh/bin/ibc-pyg"
mkdir "$work/empty"
cd "$work/empty"
"$ibc" experiments
"$ibc" demo --out runs/demo --train.epochs 2 --train.lr_milestones "[]"
"$ibc" data make-sample folder --out pictures
"$ibc" train sample baselines/ce --out runs/sample
"$ibc" index build runs/sample pictures --out pictures.index
"$ibc" search pictures.index pictures/*/004.jpg -k 3 --html hits.html
if "$ibc" serve --help > serve-help.txt 2>&1; then
    "$ibc" serve pictures.index --port 8099 > serve.log 2>&1 &
    server=$!
    trap 'kill $server; rm -rf "$work"' EXIT
    "$work/fresh/bin/python" - << 'CODE'
import time, urllib.request
for attempt in range(60):
    try:
        page = urllib.request.urlopen("http://127.0.0.1:8099/", timeout=2).read()
        break
    except OSError:
        time.sleep(1)
else:
    raise SystemExit("the server does not answer; see serve.log")
assert b"<html" in page.lower()
print("the search page answers")
CODE
fi
echo "the release is fine: $wheel"
