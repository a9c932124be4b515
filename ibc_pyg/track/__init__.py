"""Tracking of scalars and pictures: JSONL and Weights & Biases."""

from ibc_pyg.track.base import MultiTracker, Picture, Record, Tracker
from ibc_pyg.track.jsonl import JsonlTracker, read_jsonl
from ibc_pyg.track.plugged import PluggedTracker
from ibc_pyg.track.wandb_tracker import WandbMode, WandbTracker

__all__ = [
    "JsonlTracker",
    "MultiTracker",
    "Picture",
    "PluggedTracker",
    "Record",
    "Tracker",
    "WandbMode",
    "WandbTracker",
    "read_jsonl",
]
