"""Sparse coders: their configuration, training loop and checkpoints. Needs torch, numpy and safetensors only."""

import kernels

if not hasattr(kernels, "matching_pursuit"):
    raise ImportError(
        f"another package named `kernels` hides this project's: {list(kernels.__path__)}; "
        "uninstall it (pip uninstall kernels) or run from a separate virtual environment"
    )

from models.config import SparseCoderConfig
from models.reencode import reencode
from models.sparse_coder import SparseCoder
from models.variants import VARIANTS

__all__ = ["VARIANTS", "SparseCoder", "SparseCoderConfig", "reencode"]
