"""Construction of the loss."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from ibc_pyg.builders.model import rebuild_model
from ibc_pyg.builders.plugged import check_code, with_kept_code
from ibc_pyg.config import Config, TermConfig
from ibc_pyg.config.files.yaml_file import config_from_yaml
from ibc_pyg.config.plugged import plugged_code
from ibc_pyg.errors import ConfigError
from ibc_pyg.losses.factory import DISTILLATION, make_loss
from ibc_pyg.losses.intra_batch import IntraBatchLoss
from ibc_pyg.losses.term import Term
from ibc_pyg.nn.model import IntraBatchModel
from ibc_pyg.nn.sampled_classes import SampledClasses
from ibc_pyg.nn.weights import read_weights
from ibc_pyg.plugins import short_name
from ibc_pyg.runs.run_folder import RunFolder

_logger = logging.getLogger(__name__)


def build_loss(
    config: Config,
    model: IntraBatchModel,
    *,
    num_classes: int,
    channels: int,
    trust_code: bool = False,
) -> IntraBatchLoss:
    """Build the loss; parameters of its terms are initialised with the global generator of torch.

    Args:
        config: The experiment.
        model: The trained model.
        num_classes: Number of training classes C.
        channels: Colour channels of the images.
        trust_code: Whether code that a teacher refers to and `config` does not may be imported.

    Raises:
        ConfigError: If a term is unknown, or its arguments or its teacher are invalid.
        RunError: If the code of a teacher is not trusted.
    """
    loss = config.loss
    terms: list[Term] = []
    seen: Counter[str] = Counter()
    for each in loss.terms:
        label = short_name(each.name)
        seen[label] += 1
        name = label if seen[label] == 1 else f"{label}_{seen[label]}"
        terms.append(_term(name, each, config, model, num_classes, channels, trust_code))
    sampled = None
    if loss.sampled_classes < 1:
        batch = config.data.classes_per_batch * config.data.images_per_class
        heads = [*model.node_heads, model.auxiliary_head]
        sampled = SampledClasses(heads, loss.sampled_classes, batch, config.train.seed)
    return IntraBatchLoss(
        loss.temperature,
        loss.label_smoothing,
        loss.node_weight,
        loss.auxiliary_weight,
        terms,
        sampled,
    )


def _term(
    name: str,
    term: TermConfig,
    config: Config,
    model: IntraBatchModel,
    num_classes: int,
    channels: int,
    trust_code: bool,
) -> Term:
    width = config.model.embedding_dim
    if term.features == "nodes" and model.mpn is not None:
        width = model.mpn.out_channels
    args = dict(term.args)
    distils = term.name in {kind.__name__ for kind in DISTILLATION}
    path = args.pop("teacher", None) if distils else None
    if distils and path is None:
        raise ConfigError(
            f"loss.terms: {term.name} needs a trained network: set args: {{teacher: RUN_DIR}}"
        )
    return Term(
        name,
        make_loss(
            term.name,
            args,
            term.miner,
            term.miner_args,
            num_classes=num_classes,
            embedding_size=width,
        ),
        term.features,
        term.weight,
        term.lr_factor,
        None
        if path is None
        else _teacher(Path(str(path)), term, config, width, num_classes, channels, trust_code),
    )


def _teacher(
    path: Path,
    term: TermConfig,
    student: Config,
    width: int,
    num_classes: int,
    channels: int,
    trust_code: bool,
) -> IntraBatchModel:
    run = RunFolder.open(path)
    config = config_from_yaml(run.config)
    check_code(config, path, trust=trust_code, known=plugged_code(student), opening=True)
    kept = with_kept_code(config, path)
    weights = read_weights(run.weights)
    classes = len(weights.get("auxiliary_head.linear.weight", ()))
    if classes != num_classes:
        raise ConfigError(
            f"loss.terms: the teacher {path} was trained on {classes} classes, not {num_classes}; "
            "give one that was trained on the same classes (same select and seed)"
        )
    if _trained_on(config) != _trained_on(student):
        raise ConfigError(
            f"loss.terms: the teacher {path} was trained on other classes; give one with the "
            "same data.name, select, data.val_classes, data.val_fold and train.seed"
        )
    if config.data.transform_args != student.data.transform_args:
        _logger.warning(
            "the teacher %s was trained with other data.transform_args: %s, not %s",
            path,
            config.data.transform_args,
            student.data.transform_args,
        )
    teacher = rebuild_model(
        kept.model, weights, run.weights, num_classes=classes, channels=channels
    )
    if term.features == "nodes" and teacher.mpn is None:
        raise ConfigError(f"loss.terms: the teacher {path} has no refined nodes (model.steps = 0)")
    teacher_width = config.model.embedding_dim
    if term.features == "nodes" and teacher.mpn is not None:
        teacher_width = teacher.mpn.out_channels
    if term.name == "FeatureDistillation" and teacher_width != width:
        raise ConfigError(
            f"loss.terms: teacher {path} has features of width {teacher_width}, not {width}"
        )
    return teacher.eval().requires_grad_(False)


def _trained_on(config: Config) -> tuple[object, ...]:
    """Return the fields that determine the training classes."""
    if config.select != "val" or config.retrain:
        return (config.data.name,)
    data = config.data
    return data.name, data.val_classes, data.val_fold, config.train.seed
