"""The configuration of an experiment: one dataclass a part, a docstring under each field.

The defaults are those of the embedded data set. Reading an experiment file and the command line
into these classes is `ibc_pyg.config.yaml_file`'s work; nothing here imports torch.
"""

from ibc_pyg.config.data import DataConfig
from ibc_pyg.config.evaluate import EvaluateConfig, RefineMethod
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
    "RefineMethod",
    "TermConfig",
    "TrackConfig",
    "TrainConfig",
]
