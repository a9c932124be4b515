"""Folder that `timm.create_model("local-dir:FOLDER", pretrained=True)` reads."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save

from ibc_pyg.errors import RunError, first_line
from ibc_pyg.files import make_folder, write_atomically, write_json
from ibc_pyg.inference.trained import Trained
from ibc_pyg.nn.backbones.published import split_args
from ibc_pyg.nn.backbones.timm_backbone import PREFIX, TimmBackbone


def why_not_timm(trained: Trained) -> str | None:
    """Return why a run has no equal network in timm; None if it has one."""
    backbone = trained.model.backbone
    if not isinstance(backbone, TimmBackbone):
        return f"its backbone {trained.config.model.backbone} is not a network of timm"
    if backbone.pooling is not None:
        return "it pools in its own way (model.backbone_args.pooling)"
    if "bn_eps" in trained.config.model.backbone_args:
        return "it changes the epsilon of batch normalisation (model.backbone_args.bn_eps)"
    if trained.transform.channels != 3:
        return "its pictures are grey, and timm reads three channels"
    if trained.image_shape is not None:
        return "its pictures are resized twice, and timm resizes once"
    return None


def is_timm_folder(folder: Path) -> bool:
    """Tell whether a folder holds nothing but the two files of `export_timm`."""
    return {each.name for each in folder.iterdir()} == {"config.json", "model.safetensors"}


def export_timm(trained: Trained, folder: Path) -> Path:
    """Write config.json and model.safetensors for timm, with the linear layer as classifier.

    The output is raw: the caller scales it to unit norm.

    Raises:
        RunError: If there is no equal network in timm, naming the reason.
    """
    import timm

    if (problem := why_not_timm(trained)) is not None:
        raise RunError(f"no folder for timm: {problem}")
    config, t = trained.config.model, trained.transform
    name = config.backbone.removeprefix(PREFIX)
    args = split_args(TimmBackbone, config.backbone_args)[1]
    network = timm.create_model(name, num_classes=config.embedding_dim, **args)
    classifier = network.pretrained_cfg.get("classifier")
    weights = {}
    for key, value in trained.model.backbone.state_dict().items():
        part, _, rest = key.partition(".")
        weights[rest if part == "body" else f"{classifier}.{rest}"] = value.cpu().contiguous()
    try:
        network.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise RunError(f"no folder for timm: {first_line(error)}") from error
    published = network.pretrained_cfg
    settings = {
        "architecture": name.partition(".")[0],
        "num_classes": config.embedding_dim,
        "num_features": network.num_features,
        "global_pool": getattr(network, "global_pool", None) or "",
        "model_args": args,
        "pretrained_cfg": {
            "input_size": [3, t.image_size, t.image_size],
            "fixed_input_size": bool(published.get("fixed_input_size")),
            "interpolation": "bilinear",
            "crop_pct": t.image_size / t.resize,
            "crop_mode": "center",
            "mean": list(t.mean),
            "std": list(t.std),
            "num_classes": config.embedding_dim,
            "pool_size": published.get("pool_size"),
            "first_conv": published.get("first_conv"),
            "classifier": classifier,
        },
    }
    if not isinstance(settings["global_pool"], str):
        del settings["global_pool"]  # a module in convolutional networks
    make_folder(folder)
    write_atomically(folder / "model.safetensors", save(weights, metadata={"format": "pt"}))
    write_json(folder / "config.json", settings)
    return folder
