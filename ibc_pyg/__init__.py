"""Deep metric learning with intra-batch connections on PyTorch Geometric.

The method is that of Seidenschwarz, Elezi and Leal-Taixe, *Learning Intra-Batch Connections for
Deep Metric Learning*, ICML 2021 (https://arxiv.org/abs/2102.07753).
"""

__version__ = "0.1.0"
