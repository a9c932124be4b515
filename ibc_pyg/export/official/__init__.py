"""Released checkpoints: key names and layouts, read without unpickling."""

from ibc_pyg.export.official.checkpoint import load_state_dict_file
from ibc_pyg.export.official.encoder import OfficialEncoder, encoder_from_state_dict
from ibc_pyg.export.official.mpn import MPNPrediction, OfficialMPN, mpn_from_state_dict

__all__ = [
    "MPNPrediction",
    "OfficialEncoder",
    "OfficialMPN",
    "encoder_from_state_dict",
    "load_state_dict_file",
    "mpn_from_state_dict",
]
