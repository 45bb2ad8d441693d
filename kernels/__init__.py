"""Sparse-coding operations: tensors in, tensors out, each differentiable and each with an obvious reference.

Depends on torch alone, and on Triton where there is a GPU. Shape letters used throughout the package:
B tokens, D input width, M latents, K active latents per token, T tokens of one chunk.
"""

from kernels.gradient_pursuit import gradient_pursuit, gradient_pursuit_step
from kernels.matching_pursuit import decoder_gram, matching_pursuit
from kernels.orthogonal_pursuit import orthogonal_pursuit
from kernels.sparse_decode import sparse_decode, sparse_scores
from kernels.study import study_gradient_pursuit, study_matching_pursuit
from kernels.topk import topk_encode

__all__ = [
    "decoder_gram",
    "gradient_pursuit",
    "gradient_pursuit_step",
    "matching_pursuit",
    "orthogonal_pursuit",
    "sparse_decode",
    "sparse_scores",
    "study_gradient_pursuit",
    "study_matching_pursuit",
    "topk_encode",
]
