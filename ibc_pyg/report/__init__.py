"""HTML report of a run."""

from ibc_pyg.report.data import (
    AttentionMap,
    BatchGraph,
    GalleryRow,
    MapPoints,
    Neighbour,
    ReportData,
    Thumb,
)
from ibc_pyg.report.figures.pictures import picture_attention, picture_gallery
from ibc_pyg.report.page import write_report
from ibc_pyg.report.projection import project_2d

__all__ = [
    "AttentionMap",
    "BatchGraph",
    "GalleryRow",
    "MapPoints",
    "Neighbour",
    "ReportData",
    "Thumb",
    "picture_attention",
    "picture_gallery",
    "project_2d",
    "write_report",
]
