"""Configuration of an experiment: one dataclass per part, a docstring under each field.

The defaults are those of the built-in data set. `ibc_pyg.config.files.yaml_file` reads experiment
files and command-line options into these classes. No module of this package imports torch.
"""

from ibc_pyg.config.data import DataConfig
from ibc_pyg.config.evaluate import EvaluateConfig
from ibc_pyg.config.experiment import Config
from ibc_pyg.config.loss import LossConfig, TermConfig
from ibc_pyg.config.model import ModelConfig
from ibc_pyg.config.track import TrackConfig
from ibc_pyg.config.train import TrainConfig

__all__ = [
    "Config",
    "DataConfig",
    "EvaluateConfig",
    "LossConfig",
    "ModelConfig",
    "TermConfig",
    "TrackConfig",
    "TrainConfig",
]
