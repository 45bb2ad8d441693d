"""Sparse-coding operations: tensors in, tensors out, each differentiable and each with an obvious reference.

Depends on torch alone, so that it runs wherever a GPU does. Shape letters used throughout the package:
B tokens, D input width, M latents, K active latents per token, T tokens of one cache-sized chunk.
"""

from kernels.matching_pursuit import decoder_gram, matching_pursuit
from kernels.sparse_decode import sparse_decode
from kernels.topk import topk_encode

__all__ = ["decoder_gram", "matching_pursuit", "sparse_decode", "topk_encode"]
