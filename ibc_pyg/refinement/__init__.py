"""Refinement at search time: a graph over the searched descriptors, without trained weights."""

from ibc_pyg.refinement.average import average as average
from ibc_pyg.refinement.method import Refined as Refined
from ibc_pyg.refinement.method import refine_vectors as refine_vectors
from ibc_pyg.refinement.method import rerank as rerank
from ibc_pyg.refinement.neighbours import neighbours as neighbours
from ibc_pyg.refinement.parameters import DEFAULTS as DEFAULTS
from ibc_pyg.refinement.parameters import LISTS as LISTS
from ibc_pyg.refinement.parameters import VECTORS as VECTORS
from ibc_pyg.refinement.parameters import Parameters as Parameters
from ibc_pyg.refinement.parameters import parameters_of as parameters_of
