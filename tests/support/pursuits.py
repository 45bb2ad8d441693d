"""Awkward problems for matching pursuit, and a check that holds for any precision of the choice."""

from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor

from kernels.rules import Rules


def leaves(*tensors: Tensor, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Copies that want gradients."""
    return [t.detach().to(dtype).clone().requires_grad_() for t in tensors]


class PursuitProblem(NamedTuple):
    """One call of `matching_pursuit`; `W_dec` is None where the encoder serves as decoder too."""

    r0: Tensor
    W_enc: Tensor
    b_enc: Tensor | None
    W_dec: Tensor | None
    rules: Rules
    excluded: Tensor | None = None
    """A latent that each token may not choose, [B]."""

    def leaves(self, dtype: torch.dtype, device: str = "cpu") -> "PursuitProblem":
        """A copy whose tensors are leaves that want gradients."""
        copies = [None if t is None else leaves(t.to(device), dtype=dtype)[0] for t in self[:4]]
        return PursuitProblem(*copies, self.rules, None if self.excluded is None else self.excluded.to(device))

    @property
    def decoder(self) -> Tensor:
        """The decoder, tied or not."""
        return self.W_enc if self.W_dec is None else self.W_dec

    def options(self) -> dict[str, object]:
        """Keyword options for `matching_pursuit` and its reference."""
        rules = self.rules
        options = {"repeats": rules.repeats, "sliced": rules.sliced, "residual_threshold": rules.residual_threshold}
        return options | {"excluded": self.excluded}


@st.composite
def pursuit_problems(draw: st.DrawFn, plain: bool = False) -> PursuitProblem:
    """Sizes around and across tile edges, zero rows, ties, all scores negative; unit-norm decoders. float64."""
    tokens = draw(st.sampled_from([1, 2, 7, 63, 65, 130]), label="B")
    width = draw(st.sampled_from([1, 3, 16, 33]), label="d")
    latents = draw(st.sampled_from([1, 2, 13, 67, 257, 300]), label="M")
    k = draw(st.integers(1, min(latents, 9)) | st.just(latents if latents <= 13 else 9), label="k")
    kind = draw(st.sampled_from(["untied", "tied", "sliced", "per step", "sliced per step"]), label="kind")
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31), label="seed"))

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    kind = "untied" if plain else kind
    x, W_enc = normal(tokens, width), normal(latents, width) / width**0.5
    if draw(st.booleans(), label="zero row"):
        x[0] = 0
    if draw(st.booleans(), label="twins"):
        W_enc[latents // 2 :] = W_enc[: latents - latents // 2].clone()
    b_enc = draw(st.sampled_from([0.0, 0.3, -0.3, -100.0, None]), label="bias")
    b_enc = None if b_enc is None else b_enc + 0.1 * normal(latents)
    if kind == "tied":
        W_enc = torch.nn.functional.normalize(W_enc, dim=1)
    shape = (k, latents, width) if "per step" in kind else (latents, width)
    W_dec = None if kind == "tied" else torch.nn.functional.normalize(normal(*shape), dim=-1)
    rules = Rules(
        k=k,
        repeats=not plain and draw(st.booleans(), label="repeats"),
        sliced="sliced" in kind,
        residual_threshold=0.0 if plain else draw(st.sampled_from([0.0, 0.0, 0.7 * width**0.5]), label="threshold"),
    )
    excluded = None
    if not (plain or rules.repeats or rules.sliced) and k < latents and draw(st.booleans(), label="excluded"):
        excluded = torch.randint(latents, (tokens,), generator=generator)
    return PursuitProblem(x, W_enc, b_enc, W_dec, rules, excluded)


class Replay(NamedTuple):
    """A pursuit made again, differentiable."""

    acts: Tensor
    residual: Tensor
    short: Tensor
    """By how much the score of each choice fell short of the best one allowed, relative to the size of scores."""
    scale: Tensor
    """The size of scores, [B, 1]: of the largest residual so far, for rounding made on it stays when it shrinks."""


def replay(problem: PursuitProblem, indices: Tensor, detach_residual: bool = False) -> Replay:
    """The pursuit that makes the given choices."""
    rules, latents = problem.rules, problem.W_enc.shape[0]
    residual, forbidden = problem.r0, torch.zeros(len(indices), latents, dtype=torch.bool, device=indices.device)
    if problem.excluded is not None:
        forbidden.scatter_(1, problem.excluded[:, None], True)
    row = problem.W_enc.detach().norm(dim=1).max()
    scale = residual.detach().norm(dim=1) * row
    acts, short = [], []
    for i in range(rules.k):
        first, last = rules.slice_bounds(i, latents)
        j = indices[:, i, None]
        seen = residual.detach() if detach_residual else residual
        scores = torch.relu(seen @ problem.W_enc.T + (0 if problem.b_enc is None else problem.b_enc))
        allowed = scores.masked_fill(forbidden, 0)[:, first:last].amax(dim=1)
        act = scores.gather(1, j)
        stopped = (residual.norm(dim=1) <= rules.residual_threshold) if rules.residual_threshold > 0 else None
        if stopped is not None:
            act = act.masked_fill(stopped[:, None], 0)
            allowed = allowed.masked_fill(stopped, 0)
        repeated = forbidden.gather(1, j)
        act = act.masked_fill(repeated, 0)
        short.append(((allowed - act[:, 0]) / (scale + 1e-30)).detach())
        decoder = problem.decoder[i] if problem.decoder.ndim == 3 else problem.decoder
        residual = residual - act * decoder[j[:, 0]]
        scale = torch.maximum(scale, residual.detach().norm(dim=1) * row)
        if not rules.repeats:
            forbidden = forbidden.scatter(1, j, True)
        acts.append(act)
    return Replay(torch.cat(acts, dim=1), residual, torch.stack(short, dim=1), scale[:, None])


def assert_is_a_pursuit(
    problem: PursuitProblem, acts: Tensor, indices: Tensor, residual: Tensor, tolerance: float
) -> None:
    """Every choice is the best allowed one up to rounding, and activations and residual are those of the choices."""
    tensors = (None if t is None else t.detach().double().cpu() for t in problem[:4])
    exact = PursuitProblem(*tensors, problem.rules, None if problem.excluded is None else problem.excluded.cpu())
    assert indices.min() >= 0
    assert indices.max() < exact.W_enc.shape[0]
    expected = replay(exact, indices.cpu())
    assert expected.short.max() <= tolerance
    assert_within(acts, expected.acts, tolerance, expected.scale)
    assert_within(residual, expected.residual, tolerance, expected.scale)


def assert_within(ours: Tensor, exact: Tensor, tolerance: float, scale: Tensor) -> None:
    """Every element of `ours` is `exact` up to a share `tolerance` of 1 + |exact| + scale."""
    error = (ours.detach().double().cpu() - exact.detach()).abs()
    excess = error / (1 + exact.detach().abs() + scale)
    assert excess.max() <= tolerance, f"off by {float(error.max()):.3g}, {float(excess.max()):.3g} of its scale"


def assert_same_gradients(
    problem: PursuitProblem, outputs: tuple[Tensor, Tensor, Tensor], detach_residual: bool, tolerance: float
) -> None:
    """Gradients at the leaves of `problem`, which gave `outputs`, are those of the same choices in float64.

    The backward pass finds the residuals again from the last one, so where that one grew, `tolerance` grows with it.
    """
    acts, indices, residual = outputs
    twin = problem.leaves(torch.float64)
    twin_acts, twin_residual, _, scale = replay(twin, indices.cpu(), detach_residual)
    if not torch.equal(acts.cpu() > 0, twin_acts > 0):
        return  # an activation of 0 up to rounding: its gradient is on one side of the kink here, on the other there
    first = twin.r0.detach().norm(dim=1, keepdim=True) * twin.W_enc.detach().norm(dim=1).max()
    tolerance *= float(((1 + scale) / (1 + first)).max())
    weights = torch.linspace(-1, 1, acts.numel(), dtype=torch.float64).view(acts.shape)
    (residual.pow(2).sum() + (acts * weights.to(acts)).sum()).backward()
    (twin_residual.pow(2).sum() + (twin_acts * weights).sum()).backward()
    for name, mine, theirs in zip(("r0", "W_enc", "b_enc", "W_dec"), problem[:4], twin[:4], strict=True):
        if mine is None:
            continue
        expected = torch.zeros_like(theirs) if theirs.grad is None else theirs.grad
        scale = float(expected.abs().max()) + 1.0
        torch.testing.assert_close(
            mine.grad.double().cpu(),
            expected,
            rtol=tolerance,
            atol=tolerance * scale,
            msg=lambda m, n=name: f"{n}: {m}",
        )
