"""The definitions, written as plainly as they read: slow, differentiable by autograd, used by tests only."""

import torch
from torch import Tensor

from kernels.rules import Rules


def topk_encode(x: Tensor, W_enc: Tensor, b_enc: Tensor | None, k: int) -> tuple[Tensor, Tensor]:
    """`TopK_k(relu(W_enc x + b_enc))`: acts [B, k], indices [B, k]."""
    scores = torch.relu(x @ W_enc.T + (0 if b_enc is None else b_enc))
    indices = scores.topk(k, dim=1).indices
    return scores.gather(1, indices), indices


def sparse_decode(acts: Tensor, indices: Tensor, W_dec: Tensor) -> Tensor:
    """`Σ_i a_i W_dec[j_i]`, [B, D]."""
    return (acts[:, :, None] * W_dec[indices]).sum(dim=1)


def sparse_scores(x: Tensor, indices: Tensor, W: Tensor) -> Tensor:
    """`⟨W[j_i], x⟩`, [B, K]."""
    return (W[indices] * x[:, None, :]).sum(dim=2)


def gradient_pursuit_step(
    x: Tensor, acts: Tensor, indices: Tensor, dictionary: Tensor, decoder: Tensor | None = None
) -> Tensor:
    """One gradient-pursuit step of all coefficients of the active set, [B, K]."""
    residual = x - sparse_decode(acts, indices, dictionary if decoder is None else decoder)
    gradient = sparse_scores(residual, indices, dictionary)
    change = sparse_decode(gradient, indices, dictionary)
    norm = change.pow(2).sum(dim=1, keepdim=True)
    step = gradient.pow(2).sum(dim=1, keepdim=True) / torch.where(
        norm > 0, norm, 1
    )  # <change, residual> is |gradient|^2
    return torch.relu(acts + step * gradient)


def matching_pursuit(
    r0: Tensor,
    W_enc: Tensor,
    b_enc: Tensor | None,
    W_dec: Tensor,
    k: int,
    *,
    detach_residual: bool = False,
    repeats: bool = False,
    sliced: bool = False,
    residual_threshold: float = 0.0,
    excluded: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """k steps of matching pursuit: acts [B, k], indices [B, k], residual [B, D]. `W_dec` is [M, D] or [k, M, D]."""
    rules = Rules(k=k, repeats=repeats, sliced=sliced, residual_threshold=residual_threshold)
    residual, forbidden = r0, torch.zeros(r0.shape[0], W_enc.shape[0], dtype=torch.bool, device=r0.device)
    if excluded is not None:
        forbidden = forbidden.scatter(1, excluded[:, None], True)
    acts, indices = [], []
    for i in range(k):
        first, last = rules.slice_bounds(i, W_enc.shape[0])
        outside = torch.ones_like(forbidden[0])
        outside[first:last] = False
        seen = residual.detach() if detach_residual else residual
        scores = torch.relu(seen @ W_enc.T + (0 if b_enc is None else b_enc))
        best = scores.masked_fill(forbidden | outside, -1.0).argmax(dim=1, keepdim=True)
        stopped = residual.norm(dim=1, keepdim=True) <= residual_threshold
        act = scores.gather(1, best).masked_fill(stopped if residual_threshold > 0 else stopped & False, 0.0)
        residual = residual - act * (W_dec[i] if W_dec.ndim == 3 else W_dec)[best[:, 0]]
        if not repeats:
            forbidden = forbidden.scatter(1, best, True)
        acts.append(act)
        indices.append(best)
    return torch.cat(acts, dim=1), torch.cat(indices, dim=1), residual


def gradient_pursuit(
    r0: Tensor, W_enc: Tensor, b_enc: Tensor | None, W_dec: Tensor, k: int, *, sliced: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Matching pursuit's choices with a gradient-pursuit step after each, one token at a time."""
    rules, latents = Rules(k=k, sliced=sliced), W_enc.shape[0]
    tokens = []
    for x in r0:
        acts, indices = x.new_zeros(0), list[int]()
        for i in range(k):
            residual = x - acts @ W_dec[indices]
            scores = torch.relu(W_enc @ residual + (0 if b_enc is None else b_enc))
            allowed = [j for j in range(*rules.slice_bounds(i, latents)) if j not in indices]
            indices = [*indices, allowed[int(scores[allowed].argmax())]]
            acts = torch.cat([acts, scores[indices[-1:]]])
            if acts[-1] > 0:
                acts = gradient_pursuit_step(x[None], acts[None], torch.tensor([indices]), W_enc, W_dec)[0]
        tokens.append((acts, torch.tensor(indices), x - acts @ W_dec[indices]))
    return _stacked(tokens)


def study_pursuit(
    r0: Tensor, b_dec: Tensor, W_enc: Tensor, b_enc: Tensor | None, W_dec: Tensor, k: int, *, refit: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """What the study's code computes for an autoencoder, with its ITO where `refit`; one token at a time."""
    tokens = []
    for x in r0 + b_dec:
        acts, indices = x.new_zeros(0), list[int]()
        for i in range(k):
            error = x - acts @ W_dec[indices]
            seen = error - b_dec if i else error - 2 * b_dec
            scores = W_enc @ seen + (0 if b_enc is None else b_enc)
            allowed = [j for j in range(len(W_enc)) if j not in indices]
            indices = [*indices, allowed[int(scores[allowed].argmax())]]
            acts = torch.cat([acts, torch.relu(scores[indices[-1:]])])
            if refit and i and acts[-1] > 0:
                gradient = W_enc[indices] @ error  # of the error before the new latent
                change = gradient @ W_enc[indices]
                energy = change @ change
                acts = torch.relu(acts + gradient * (change @ error) / torch.where(energy > 0, energy, 1))
        tokens.append((acts, torch.tensor(indices), x - b_dec - acts @ W_dec[indices]))
    return _stacked(tokens)


def orthogonal_pursuit(r0: Tensor, dictionary: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Least squares on all latents chosen so far after every choice, one token at a time."""
    tokens = []
    for x in r0:
        acts, indices, residual, stopped = x.new_zeros(0), list[int](), x, False
        for _ in range(k):
            scores = dictionary @ residual
            allowed = [j for j in range(len(dictionary)) if j not in indices]
            best = allowed[int(scores[allowed].argmax())]
            rounding = 100 * torch.finfo(x.dtype).eps * x.norm() * dictionary.norm(dim=1).max()
            stopped = stopped or bool(scores[best] <= rounding)
            indices = [*indices, best]
            if stopped:
                acts = torch.cat([acts, x.new_zeros(1)])
            else:
                acts = torch.linalg.pinv(dictionary[indices].T) @ x
                residual = x - acts @ dictionary[indices]
        tokens.append((acts, torch.tensor(indices), residual))
    return _stacked(tokens)


def _stacked(tokens: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    acts, indices, residual = (torch.stack(part) for part in zip(*tokens, strict=True))
    return acts, indices, residual
