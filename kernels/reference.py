"""The definitions, written as plainly as they read: slow, differentiable by autograd, used by tests only."""

import torch
from torch import Tensor


def topk_encode(x: Tensor, W_enc: Tensor, b_enc: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """`TopK_k(relu(W_enc x + b_enc))`: acts [B, k], indices [B, k]."""
    scores = torch.relu(x @ W_enc.T + b_enc)
    indices = scores.topk(k, dim=1).indices
    return scores.gather(1, indices), indices


def sparse_decode(acts: Tensor, indices: Tensor, W_dec: Tensor) -> Tensor:
    """`Σ_i a_i W_dec[j_i]`, [B, D]."""
    return (acts[:, :, None] * W_dec[indices]).sum(dim=1)


def matching_pursuit(
    r0: Tensor, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor, k: int, *, detach_residual: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """k steps of matching pursuit: acts [B, k], indices [B, k], residual [B, D]."""
    residual, chosen = r0, torch.zeros(r0.shape[0], W_enc.shape[0], dtype=torch.bool, device=r0.device)
    acts, indices = [], []
    for _ in range(k):
        seen = residual.detach() if detach_residual else residual
        scores = torch.relu(seen @ W_enc.T + b_enc)
        best = scores.masked_fill(chosen, -1.0).argmax(dim=1, keepdim=True)
        act = scores.gather(1, best)
        residual = residual - act * W_dec[best[:, 0]]
        chosen = chosen.scatter(1, best, True)
        acts.append(act)
        indices.append(best)
    return torch.cat(acts, dim=1), torch.cat(indices, dim=1), residual
