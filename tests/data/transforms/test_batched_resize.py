"""Scaling of whole batches, against torchvision's kernel for one image."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ibc_pyg.data.loading.loader import Loading, train_loader
from ibc_pyg.data.registry import load_table
from ibc_pyg.data.sample import make_sample
from ibc_pyg.data.sampling import SamplerSettings, make_sampler
from ibc_pyg.data.splits import split
from ibc_pyg.data.transforms import PhotoTransform, transform_preset
from ibc_pyg.data.transforms.batched_resize import padded, resize_crops
from ibc_pyg.errors import ConfigError


@settings(deadline=None, max_examples=30)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90)), min_size=1, max_size=4),
    size=st.integers(1, 60),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 9),
)
def test_each_crop_is_scaled_as_by_interpolate(sizes, size, channels, seed):
    generator = torch.Generator().manual_seed(seed)
    crops = [
        torch.randint(0, 256, (1, *each, channels), dtype=torch.uint8, generator=generator)
        for each in sizes
    ]
    flips = torch.rand(len(crops), generator=generator) < 0.5
    found = resize_crops(padded(crops), torch.tensor(sizes), flips, size)
    for crop, flip, out in zip(crops, flips, found, strict=True):
        image = crop.permute(0, 3, 1, 2).float()
        expected = F.interpolate(image, (size, size), mode="bilinear", antialias=True)
        expected = (expected.flip(-1) if flip else expected)[0].permute(1, 2, 0)
        # Half a grey level, and rounding of float32.
        assert (out.float() - expected).abs().max() <= 0.501


@pytest.mark.parametrize("channels", [1, 3])
def test_augmentation_differs_by_one_grey_level_at_most(channels):
    options = {"image_size": 48, "resize": 56, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    generator = torch.Generator().manual_seed(0)
    images = [
        torch.randint(0, 256, (channels, *size), dtype=torch.uint8, generator=generator)
        for size in [(50, 70), (33, 35), (20, 90), (200, 150)] * 4
    ]
    draws = np.random.default_rng(0).random((len(images), PhotoTransform().num_draws))
    expected = PhotoTransform(**options).augment(images, draws)
    found = PhotoTransform(**options, scale_on_device=True).augment(images, draws)
    assert found.shape == expected.shape
    assert ((found - expected).abs() * 127.5).max() < 1.001


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_scales_the_crops_of_workers(tmp_path, workers):
    table = load_table("cub", make_sample("cub", tmp_path / "cub"), allow_partial=True)
    rows = split(table, val_classes=None, val_fold=0, seed=0).train
    train = table.take(rows)
    batches = []
    for on_device in (False, True):
        transform = transform_preset(
            "imagenet", image_size=32, resize=36, scale_on_device=on_device
        )
        sampler = make_sampler("distinct", train.labels, SamplerSettings(2, 3, seed=0))
        loader = train_loader(train, sampler, transform, Loading(workers=workers), seed=0)
        batches.append(list(loader))
    assert len(batches[0]) == len(batches[1]) > 1
    for plain, scaled in zip(*batches, strict=True):
        assert torch.equal(plain.rows, scaled.rows)
        # One grey level in units of the smallest standard deviation.
        assert (plain.images - scaled.images).abs().max() < 1.001 / 255 / 0.224


@pytest.mark.parametrize("name", ["scale_on_device", "decode_on_device"])
def test_changes_of_colour_are_refused(name):
    with pytest.raises(ConfigError, match=rf"transform_args\.{name}: changes of colour"):
        transform_preset("imagenet_strong", **{name: True})
