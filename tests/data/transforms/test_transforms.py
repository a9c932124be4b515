import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torchvision.transforms import v2

from ibc_pyg.data.transforms import PhotoTransform, SmallTransform, preset_names, transform_preset
from ibc_pyg.data.transforms.colour import Colour
from ibc_pyg.data.transforms.crops import erasing_boxes, random_resized_crops
from ibc_pyg.errors import ConfigError

PHOTO = ["imagenet", "released", "imagenet_strong", "mobilenet_tf"]
SMALL = ["glyphs", "none"]


def rng(seed=0):
    return np.random.default_rng(seed)


def pictures(sizes, channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randint(0, 256, (channels, *size), dtype=torch.uint8, generator=generator)
        for size in sizes
    ]


SIZES = [(50, 70), (64, 64), (90, 40), (33, 35)]


def without_change(**fields):
    """A photo transform whose crop is the whole picture."""
    settings = {"image_size": 64, "resize": 64, "flip": 0.0, "erase_probability": 0.0}
    return PhotoTransform(
        **{**settings, "crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), **fields}
    )


@pytest.mark.parametrize("name", preset_names())
@pytest.mark.parametrize("mode", ["train", "test"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_preset_takes_any_picture(name, mode, channels):
    transform = transform_preset(name, image_size=32, resize=36)
    for images in (pictures(SIZES, channels), torch.stack(pictures([(28, 28)] * 4, channels))):
        result = transform.test(images) if mode == "test" else transform.train(images, rng())
        assert result.shape == (4, transform.channels, 32, 32)
        assert result.dtype == torch.float32
        assert result.is_contiguous(memory_format=torch.channels_last)
        assert result.isfinite().all()


@pytest.mark.parametrize("name", preset_names())
def test_randomness_comes_from_the_generator_alone(name):
    transform = transform_preset(name, image_size=32, resize=36)
    before = torch.get_rng_state()
    images = pictures(SIZES)
    first, again, other = (transform.train(images, rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name == "none")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", preset_names())
def test_pictures_are_left_as_they_are(name):
    transform = transform_preset(name, image_size=32, resize=36)
    for images in (pictures(SIZES), torch.stack(pictures([(36, 36)] * 4))):
        before = [image.clone() for image in images]
        transform.train(images, rng())
        transform.test(images)
        assert all(torch.equal(a, b) for a, b in zip(before, images, strict=True))


@pytest.mark.parametrize("name", PHOTO)
def test_test_pictures_are_those_of_torchvision(name):
    transform = transform_preset(name)
    reference = v2.Compose(
        [
            v2.Resize(transform.resize, antialias=True),
            v2.CenterCrop(transform.image_size),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(transform.mean, transform.std),
        ]
    )
    images = pictures([(300, 400), (256, 256), (200, 100)])
    ours = transform.test(images)
    for picture, image in zip(ours, images, strict=True):
        # One step of an 8-bit pixel: torchvision's kernel for another memory order rounds apart.
        assert (picture - reference(image)).abs().max() <= 1.01 / 255 / min(transform.std)


def test_presets_of_the_paper_and_of_the_released_code():
    paper, released = transform_preset("imagenet"), transform_preset("released")
    assert (paper.image_size, paper.resize) == (released.image_size, released.resize) == (227, 256)
    assert paper.mean == released.mean == (0.485, 0.456, 0.406)
    assert paper.std == (0.229, 0.224, 0.225)
    assert released.std == (0.299, 0.224, 0.225)
    assert released.erase_value == (0.4914, 0.4822, 0.4465)


def test_tensorflow_range():
    transform = transform_preset("mobilenet_tf", image_size=8)
    images = torch.arange(192, dtype=torch.uint8).view(1, 3, 8, 8).repeat(2, 1, 1, 1)
    images[1, :, 0, 0] = 255
    transform = transform_preset("mobilenet_tf", image_size=8, resize=8)
    expected = images.float() / 127.5 - 1
    torch.testing.assert_close(transform.test(images), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(60, 100), (40, 40), (20, 200), (200, 20)])
def test_crops_have_the_distribution_of_torchvision(size):
    scale, ratio = (0.08, 1.0), (3 / 4, 4 / 3)
    draws = rng(1).random((1500, 22))
    ours = random_resized_crops(np.tile(size, (1500, 1)), draws, scale, ratio)
    picture = torch.zeros(3, *size)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        crop = v2.RandomResizedCrop(8, scale, ratio)
        params = [crop.make_params([picture]) for _ in range(1500)]
    names = ("top", "left", "height", "width")
    theirs = np.array([[drawn[name] for name in names] for drawn in params])
    for column in range(4):
        # Below 1e-4 once in ten thousand draws of the seed, if the distributions are the same.
        assert stats.ks_2samp(ours[:, column], theirs[:, column]).pvalue > 1e-4
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, :2] + ours[:, 2:] <= size).all()


def test_erased_boxes():
    boxes = erasing_boxes(100, rng(2).random((4000, 23)), 0.5, (0.02, 0.4), (0.3, 1 / 0.3))
    erased = boxes[:, 2] > 0
    assert abs(erased.mean() - 0.5) < 0.04  # five standard errors
    area = boxes[erased, 2] * boxes[erased, 3] / 1e4
    aspect = boxes[erased, 3] / boxes[erased, 2]
    assert 0.015 < area.min() < 0.03
    assert 0.35 < area.max() < 0.42
    assert 0.27 < aspect.min() < 0.35
    assert 2.8 < aspect.max() < 3.6
    assert (boxes[:, :2] + boxes[:, 2:] <= 100).all()


def test_the_whole_picture_without_random_changes_is_the_test_picture():
    transform = without_change()
    images = pictures([(64, 64)] * 3)
    assert torch.equal(transform.train(images, rng()), transform.test(images))


def test_flip_mirrors_left_to_right():
    transform, plain = without_change(flip=1.0), without_change()
    images = pictures([(64, 64)] * 3)
    assert torch.equal(transform.train(images, rng()), plain.test(images).flip(-1))


def test_half_of_the_pictures_are_flipped():
    transform = without_change(image_size=2, resize=2, flip=0.5)
    images = [torch.tensor([[0, 255], [0, 255]], dtype=torch.uint8).expand(3, 2, 2)] * 2000
    flipped = transform.train(images, rng())[:, 0, 0, 0] > 0
    assert abs(flipped.float().mean() - 0.5) < 0.06  # five standard errors


def test_erased_pixels_have_the_value_and_the_others_stay():
    transform = without_change(erase_probability=1.0, erase_value=(7.0, 8.0, 9.0))
    images = pictures([(64, 64)] * 3)
    result, plain = transform.train(images, rng()), transform.test(images)
    for picture, before in zip(result, plain, strict=True):
        erased = (picture != before).any(0)
        assert (picture[:, erased] == torch.tensor([[7.0], [8.0], [9.0]])).all()
        rows, columns = torch.nonzero(erased, as_tuple=True)
        box = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
        assert erased.sum() == box


def test_a_crop_shows_the_part_of_the_picture_that_it_names():
    transform = without_change(
        crop_scale=(0.1, 0.5), crop_ratio=(0.5, 2.0), image_size=32, resize=32
    )
    image = pictures([(80, 120)])[0]
    draws = rng(3).random((1, transform.num_draws))
    top, left, height, width = random_resized_crops(
        np.array([[80, 120]]), draws[:, :22], (0.1, 0.5), (0.5, 2.0)
    )[0]
    expected = v2.functional.resized_crop(image, top, left, height, width, [32, 32], antialias=True)
    ours = transform.augment([image], draws)[0]
    expected = v2.functional.normalize(expected / 255, list(transform.mean), list(transform.std))
    # One step of an 8-bit pixel: torchvision's kernel for another memory order rounds apart.
    assert (ours - expected).abs().max() <= 1.01 / 255 / 0.224


def test_colour_is_torchvisions_with_the_seed_that_was_drawn():
    colour = Colour(brightness=0.4, hue=0.1, operations=2, magnitude=7)
    picture = pictures([(24, 24)])[0]
    ours = colour(picture, np.array([0.25]))
    with torch.random.fork_rng():
        torch.manual_seed(2**30)
        theirs = v2.Compose([v2.RandAugment(2, 7), v2.ColorJitter(0.4, 0, 0, 0.1)])(picture)
    assert torch.equal(ours, theirs)


def test_small_pictures_without_change():
    transform = SmallTransform(rotation=0, scale=0, shear=0, translation=0, contrast=0, noise=0)
    images = torch.stack(pictures([(28, 28)] * 5, channels=1))
    torch.testing.assert_close(transform.train(images, rng()), transform.test(images))


@pytest.mark.parametrize("field", ["rotation", "scale", "shear", "translation"])
def test_affine_maps_are_those_of_scipy(field):
    amounts = {"rotation": 25.0, "scale": 0.4, "shear": 20.0, "translation": 0.2}
    none = dict.fromkeys(amounts, 0.0)
    transform = SmallTransform(
        **{**none, field: amounts[field]}, contrast=0, noise=0, padding="zeros"
    )
    image = np.zeros((28, 28), np.float64)
    image[8:20, 6:17] = 200
    image[12:15, 9:22] = 90
    draws = rng(4).random((1, transform.num_draws))
    ours = transform.augment(torch.from_numpy(image.astype(np.uint8))[None, None], draws)[0, 0]
    u = 2 * draws[0] - 1
    angle, size = math.radians(amounts["rotation"]) * u[0], (1.4) ** u[1]
    lean = math.tan(math.radians(amounts["shear"]) * u[2])
    # Rows are y, columns x; the map leads from the result to the source.
    source = {
        "rotation": [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]],
        "scale": [[1 / size, 0], [0, 1 / size]],
        "shear": [[1, 0], [lean, 1]],
        "translation": [[1, 0], [0, 1]],
    }[field]
    centre = np.array([13.5, 13.5])
    shift = 28 * 0.2 * u[[4, 3]] if field == "translation" else np.zeros(2)
    offset = centre - np.array(source) @ centre + shift
    expected = ndimage.affine_transform(image, np.array(source), offset, order=1)
    # scipy ends at the centre of a border pixel and torch at its edge: look at the inside.
    inside = slice(2, -2)
    np.testing.assert_allclose(
        (ours.numpy() * 0.5 + 0.5)[inside, inside], expected[inside, inside] / 255, atol=1e-3
    )


def test_noise_has_its_standard_deviation_and_images_differ():
    transform = SmallTransform(rotation=0, scale=0, shear=0, translation=0, contrast=0, noise=0.05)
    images = torch.full((64, 1, 28, 28), 128, dtype=torch.uint8)
    result = transform.train(images, rng()) * 0.5 + 0.5
    assert abs(result.std().item() - 0.05) < 0.001
    assert not torch.equal(result[0], result[1])


def test_contrast_keeps_the_mean():
    transform = SmallTransform(rotation=0, scale=0, shear=0, translation=0, contrast=0.3, noise=0)
    images = torch.stack(pictures([(28, 28)], channels=1)) // 4 + 96
    before, after = transform.test(images), transform.train(images, rng())
    assert after.mean().item() == pytest.approx(before.mean().item(), abs=1e-5)
    gain = (after.std() / before.std()).item()
    assert gain == pytest.approx(1 + 0.3 * (2 * rng().random((1, 7))[0, 5] - 1), abs=1e-4)


def test_sizes_follow_the_preset():
    assert transform_preset("imagenet", image_size=454).resize == 512
    assert transform_preset("imagenet", image_size=64, resize=64).resize == 64
    assert transform_preset("glyphs", image_size=32).resize == 32
    assert transform_preset("none", mean=[0.5] * 3, std=[0.5] * 3).channels == 3


def test_colour_can_be_given_as_in_a_file():
    transform = transform_preset("imagenet", colour={"hue": 0.1})
    assert transform.colour == Colour(hue=0.1)


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("imagenot", {}, r"data\.transform: no preset 'imagenot'; did you mean imagenet"),
        (
            "imagenet",
            {"resize": 100},
            r"transform_args\.resize: 100 is smaller than image_size 227",
        ),
        ("imagenet", {"image_size": 0}, r"transform_args\.image_size: must be >= 1"),
        ("imagenet", {"flop": 1}, r"has no argument 'flop'; did you mean flip"),
        ("imagenet", {"flip": 1.5}, r"transform_args\.flip: must be in \[0, 1\]"),
        ("imagenet", {"crop_scale": [0.0, 1.0]}, r"transform_args\.crop_scale: must be 0 < low"),
        ("imagenet", {"std": (0.0, 1.0, 1.0)}, r"transform_args\.std: must be > 0"),
        ("imagenet", {"colour": {"hui": 1}}, r"transform_args: colour has no argument 'hui'"),
        ("glyphs", {"noise": -0.1}, r"transform_args\.noise: must be >= 0"),
        ("glyphs", {"padding": "edge"}, r"transform_args\.padding: must be one of"),
        ("imagenet", {"mean": (0.5,)}, r"transform_args\.mean"),
    ],
)
def test_wrong_settings_are_named(name, arguments, says):
    with pytest.raises(ConfigError, match=says):
        transform_preset(name, **arguments)


def test_the_page_lists_every_preset():
    page = Path(__file__).resolve().parents[3] / "docs" / "data.md"
    _, _, section = page.read_text().partition("## Presets of augmentation\n")
    listed = re.findall(r"^\| `(\w+)` \|", section.partition("\n## ")[0], flags=re.MULTILINE)
    assert sorted(listed) == sorted(preset_names())
