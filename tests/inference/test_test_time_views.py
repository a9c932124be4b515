"""Mirror images and crops: the mean of the descriptors of torchvision's crops."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.transforms.v2 import functional as V2

from ibc_pyg.data.table import ImageTable, Role
from ibc_pyg.data.transforms import transform_preset
from ibc_pyg.errors import ConfigError
from ibc_pyg.inference.test_time_views import Views
from ibc_pyg.nn.model import IntraBatchModel

PHOTO = transform_preset("imagenet", image_size=20, resize=26)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(3 * 20 * 20, 8))
    return IntraBatchModel(backbone, None, [], nn.Linear(8, 2))


def pictures(*sizes):
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (3, h, w), generator=generator).to(torch.uint8) for h, w in sizes]


def table(images=None):
    n = 2 if images is None else len(images)
    return ImageTable(
        "t",
        tuple(map(str, range(n))),
        np.zeros(n, np.int64),
        np.full(n, Role.TEST, np.uint8),
        ("a",),
        images=images,
    )


def embed(model, views, images):
    return views.embed(model, views.transform(table(), PHOTO).test(images))


def by_hand(model, image, *, flip, crops):
    """Compute the mean descriptor of torchvision's crops of one picture."""
    scaled = V2.resize(image, 26, antialias=True)
    cuts = V2.five_crop(scaled, [20, 20]) if crops == 5 else [V2.center_crop(scaled, [20, 20])]
    cuts = [cut.permute(1, 2, 0)[None] for cut in cuts]
    views = torch.cat([PHOTO.normalise(cut.contiguous()) for cut in cuts])
    if flip:
        views = torch.cat([views, V2.horizontal_flip(views)])
    with torch.no_grad():
        return F.normalize(F.normalize(model.backbone(views), dim=1).mean(0), dim=0)


@pytest.mark.parametrize(("flip", "crops"), [(False, 1), (True, 1), (False, 5), (True, 5)])
def test_views_are_those_of_torchvision(model, flip, crops):
    images = pictures((40, 30), (26, 26), (31, 57))
    with torch.no_grad():
        found = embed(model, Views(flip, crops), images)
    for vector, image in zip(found, images, strict=True):
        expected = by_hand(model, image, flip=flip, crops=crops)
        # The channel order in memory changes the rounding of 8-bit pixels.
        torch.testing.assert_close(vector, expected, atol=5e-3, rtol=0)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))


def test_one_view_is_the_plain_embedding(model):
    images = pictures((40, 30), (26, 33))
    with torch.no_grad():
        usual = model.embed(PHOTO.test(images))
        assert torch.equal(embed(model, Views(), images), usual)
        mirrored = model.embed(PHOTO.test(images).flip(-1))
        expected = F.normalize((usual + mirrored) / 2, dim=1)
        torch.testing.assert_close(embed(model, Views(flip=True), images), expected)


@pytest.mark.parametrize("crops", [5, 9])
def test_crops_contain_the_test_crop_and_the_corners(crops):
    image = pictures((40, 52))[0]
    transform = Views(crops=crops).transform(table(), PHOTO)
    cuts = transform.fit(torch.stack([image, image]))  # [2 * crops, 20, 20, 3]
    assert cuts.shape == (2 * crops, 20, 20, 3)
    assert torch.equal(cuts[:crops], cuts[crops:])
    assert any(torch.equal(cut, PHOTO.fit(image[None])[0]) for cut in cuts)
    assert len({cut.numpy().tobytes() for cut in cuts[:crops]}) == crops
    assert torch.equal(transform.fit([image, image]), cuts)


def test_crops_that_cannot_differ_are_refused():
    with pytest.raises(ConfigError, match="crops must be one of 1, 5, 9, not 3"):
        Views(crops=3)
    small = transform_preset("none", image_size=8)
    held = table(np.zeros((2, 8, 8, 1), np.uint8))
    with pytest.raises(ConfigError, match=r"crops is 5, .*image_size = 8"):
        Views(crops=5).transform(held, small)
    assert Views(flip=True).transform(held, small) is small
