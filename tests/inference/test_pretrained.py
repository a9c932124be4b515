"""Pretrained backbones as embedders: the features that their own classifiers read."""

import socket

import numpy as np
import pytest
import torch
import torchvision.models as tv
from PIL import Image
from safetensors.torch import save_file

import ibc_pyg
from ibc_pyg.data.transforms import transform_preset
from ibc_pyg.errors import ConfigError, DatasetError
from ibc_pyg.inference.pretrained import load_pretrained


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)) for _ in range(3)]


def classifier_input(network, layer, images):
    """Return what the last layer of a network reads, scaled to unit norm."""
    read = []
    layer.register_forward_hook(lambda module, given, out: read.append(given[0]))
    with torch.no_grad():
        network.eval()(images)
    return torch.nn.functional.normalize(read[0], dim=-1).numpy()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_torchvision_network_with_a_file_of_weights(pictures, tmp_path, suffix):
    torch.manual_seed(0)
    network = tv.mobilenet_v3_small()
    file = tmp_path / f"weights{suffix}"
    (torch.save if suffix == ".pth" else save_file)(network.state_dict(), file)
    model = load_pretrained("mobilenet_v3_small", file)
    transform = transform_preset("imagenet", image_size=224, resize=256)
    pixels = [torch.from_numpy(np.array(each)).permute(2, 0, 1) for each in pictures]
    images = transform.test(pixels)
    # Its first layer of the classifier reads the pooled map.
    wanted = classifier_input(network, network.classifier[0], images)
    assert model.dim == wanted.shape[1] == 576
    assert np.allclose(model.embed(pictures), wanted, atol=1e-5)
    assert model.source.weights == str(file)


def test_a_network_of_timm_has_its_own_size_and_normalisation(pictures, tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    name = "vit_tiny_patch16_224"
    network = timm.create_model(name)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    model = load_pretrained(f"timm:{name}", tmp_path / "w.safetensors")
    published = network.pretrained_cfg
    assert list(model.transform.mean) == list(published["mean"])
    assert model.transform.image_size == 224
    assert model.transform.resize == int(224 / published["crop_pct"])
    pixels = [torch.from_numpy(np.array(each)).permute(2, 0, 1) for each in pictures]
    wanted = classifier_input(network, network.head, model.transform.test(pixels))
    assert np.allclose(model.embed(pictures), wanted, atol=1e-5)


def test_a_picture_too_narrow_to_be_scaled_is_skipped(pictures, tmp_path):
    torch.save(tv.mobilenet_v3_small().state_dict(), tmp_path / "w.pth")
    model = load_pretrained("mobilenet_v3_small", tmp_path / "w.pth")
    narrow = Image.new("L", (1, 10_000))
    assert len(model.embed([pictures[0], narrow, pictures[1]], on_error="skip")) == 2
    reason = "1 x 10000 pixels, one side more than 64 times the other"
    assert model.skipped == {1: f"images[1]: {reason}"}
    with pytest.raises(DatasetError, match=r"images\[0\]: 10000 x 1 pixels"):
        model.embed([narrow.rotate(90, expand=True)])


def test_an_index_of_pretrained_features_opens_its_model_again(pictures, tmp_path):
    network = tv.mobilenet_v3_small()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    (tmp_path / "photos").mkdir()
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / "photos" / f"{number}.png")
    arguments = ("mobilenet_v3_small", tmp_path / "photos", tmp_path / "index")
    with ibc_pyg.Index.build(*arguments, weights=tmp_path / "w.pth") as index:
        assert index.dim == 576
    with ibc_pyg.Index.open(tmp_path / "index") as index:
        assert index.search(pictures[1], k=1)[0].path.endswith("1.png")


@pytest.mark.parametrize("name", ["resnet18", "timm:resnet18"])
def test_without_network_and_without_weights(monkeypatch, name, tmp_path):
    def unreachable(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    if name.startswith("timm:"):
        # Its client would try again for a minute.
        monkeypatch.setattr(pytest.importorskip("timm"), "create_model", unreachable)
    with pytest.raises(ConfigError) as caught:
        load_pretrained(name)
    assert str(caught.value) == (
        f"the weights of {name} cannot be downloaded; download them by other means and give the "
        "file: --weights FILE"
    )


def test_wrong_names_and_files(tmp_path):
    with pytest.raises(ConfigError, match=r"did you mean resnet50"):
        load_pretrained("resnet5")
    with pytest.raises(ConfigError, match=r"--weights: there is no file .*none\.pth"):
        load_pretrained("resnet18", tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(ConfigError, match=r"text\.pth"):
        load_pretrained("resnet18", tmp_path / "text.pth")
