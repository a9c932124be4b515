"""Memory of the embedding of pictures; tests/test_api.py checks the embeddings themselves."""

import weakref

import numpy as np
import torch
from torch import nn

from ibc_pyg.config import Config
from ibc_pyg.data.images.cpu_count import decoding_threads
from ibc_pyg.data.transforms import transform_preset
from ibc_pyg.inference import embedder as embedder_module
from ibc_pyg.inference.embedder import Embedder


class Means(nn.Module):
    """The mean colour, as far as the embedder can tell a trained model."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def embed(self, images):
        return nn.functional.pad(images.mean(dim=(2, 3)) * self.scale, (0, 125))  # [B, 128]


def test_few_pictures_are_held_at_full_size(monkeypatch):
    alive, most = weakref.WeakSet(), []
    read = embedder_module.read_picture

    def counted(picture, name):
        pixels = read(picture, name)
        alive.add(pixels)
        most.append(len(alive))
        return pixels

    monkeypatch.setattr(embedder_module, "read_picture", counted)
    pictures = [np.full((300, 200 + i, 3), i, np.uint8) for i in range(64)]
    transform = transform_preset("imagenet", image_size=16)
    vectors = Embedder(Means(), transform, Config()).embed(pictures, batch_size=64)
    want = transform.test([torch.from_numpy(each).permute(2, 0, 1) for each in pictures])
    np.testing.assert_array_equal(vectors[:, :3], want.mean(dim=(2, 3)).numpy())
    assert max(most) <= 2 * decoding_threads() + 1
