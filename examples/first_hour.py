# %% [markdown]
# # The first hour, in Python
#
# Train a descriptor on characters, score it on characters it has never seen, embed pictures and
# search among them; then the same with a folder of pictures. Everything runs on a CPU and needs no
# download of data. `python examples/notebook.py examples/first_hour.py` writes these cells
# as a notebook.

# %%
import tempfile
from pathlib import Path

import ibc_pyg

work = Path(tempfile.mkdtemp(prefix="first-hour-"))
short = {"train.epochs": 1, "train.lr_milestones": []}  # 45 epochs, three minutes, without it

# %% [markdown]
# ## Glyphs
#
# `glyphs` is an experiment that comes with the package. The characters of the test are not among
# those of the training; R@1 is the share of test images whose nearest neighbour is of their class.

# %%
run = ibc_pyg.train("glyphs", short, out=work / "glyphs", progress=True)
print(f"R@1 {run.metrics['R@1']:.3f}, raw pixels {run.metrics['raw_pixels']['R@1']:.3f}")

# %% [markdown]
# Without message passing, everything else as before. One epoch says little; `ibc-pyg compare` runs
# both over several seeds and writes a table with intervals.

# %%
plain = ibc_pyg.train("glyphs", short | {"model.steps": 0}, out=work / "no-graph")
print(f"R@1 {plain.metrics['R@1']:.3f} without the graph")

# %% [markdown]
# ## A folder of pictures
#
# A folder for each class. Here the package draws some; take a folder of yours instead.

# %%
from ibc_pyg.data.sample import make_sample  # noqa: E402

make_sample("folder", work / "pictures", classes=6)
files = sorted((work / "pictures").glob("*/*.jpg"))
labels = [file.parent.name for file in files]
print(len(files), "pictures of", len(set(labels)), "classes")

# %%
fields = {"data.root": str(work / "pictures")}
sample = ibc_pyg.train("sample", fields, out=work / "sample")
model = ibc_pyg.load(sample.path)
vectors = model.embed(files)  # float32 [N, D], unit norm
scores = ibc_pyg.retrieval_metrics(vectors, labels)
print(vectors.shape, f"R@1 {scores['R@1']:.3f}, MAP@R {scores['MAP@R']:.3f}")

# %% [markdown]
# ## Search
#
# An index keeps the vectors on disk, and is brought up to date without embedding anything twice.

# %%
with ibc_pyg.Index.build(model, work / "pictures", work / "pictures.index") as index:
    hits = index.search(files[0], k=5)
    report = index.sync()
for hit in hits:
    print(hit.rank, hit.label, Path(hit.path).name, f"{hit.similarity:.3f}")
print(report.added, "added,", report.unchanged, "unchanged")

# %% [markdown]
# ## The layer alone
#
# It is a layer of PyTorch Geometric like any other, for a model of your own.

# %%
import torch  # noqa: E402

from ibc_pyg.nn import IntraBatchConv  # noqa: E402

conv = IntraBatchConv(vectors.shape[1], vectors.shape[1], heads=2)
refined = conv(torch.from_numpy(vectors))  # complete graph of all pictures
print(tuple(refined.shape))

# %% [markdown]
# The folder with everything that was made, reports among it:

# %%
print(work)
