"""Other libraries' training steps, on the problem's weights. They come from `benchmarks/requirements.lock`."""

import importlib
import os
import sys
import types
from typing import Any

import torch

from benchmarks.contestants import Contestant, Output, Step, squared_error
from benchmarks.problem import Problem


def _sae_lens(problem: Problem) -> Step:
    library = importlib.import_module("sae_lens.saes.matching_pursuit_sae")
    latents, width = problem.W_MD.shape
    config = library.MatchingPursuitTrainingSAEConfig(
        d_in=width, d_sae=latents, dtype="float32", device=str(problem.x_BD.device), decoder_init_norm=1.0,
        residual_threshold=0.0, max_iterations=problem.k, stop_on_duplicate_support=False,
    )  # fmt: skip
    sae = library.MatchingPursuitTrainingSAE(config)
    _copy(sae.W_dec, problem.W_MD)
    _copy(sae.b_dec, problem.b_dec_D)
    step_input = library.TrainStepInput(
        sae_in=problem.x_BD, coefficients={}, dead_neuron_mask=None, n_training_steps=0, is_logging_step=False
    )

    def forward() -> Output:
        out = sae.training_forward_pass(step_input)
        return Output(out.loss, (out.sae_out - problem.x_BD).detach(), None)

    return Step(tuple(sae.parameters()), forward)


def _overcomplete(problem: Problem) -> Step:
    _stand_in_for_image_models()
    library = importlib.import_module("overcomplete.sae.mp_sae")
    latents, width = problem.W_MD.shape
    sae = library.MpSAE(width, nb_concepts=latents, k=problem.k, device=str(problem.x_BD.device))
    _copy(sae.dictionary._weights, problem.W_MD)
    b_dec = problem.b_dec_D.clone().requires_grad_()  # the class has no bias of its own

    def forward() -> Output:
        r0 = problem.x_BD - b_dec
        _, codes = sae.encode(r0)
        return squared_error(sae.decode(codes) - r0)

    return Step((*sae.parameters(), b_dec), forward)


def _stand_in_for_image_models() -> None:
    """Let `import overcomplete` succeed without what its image models and their pictures need.

    Its package imports all its parts. torchvision and timm serve image models only, and torchvision's wheel on PyPI
    cannot load beside a CPU build of torch (after which transformers, which probes for it, fails as well), so empty
    modules stand in. `matplotlib.cm.get_cmap` was removed in matplotlib 3.9; the package makes colour maps with it.
    """
    import matplotlib.cm

    for name in ("torchvision", "torchvision.transforms", "timm"):
        sys.modules.setdefault(name, types.ModuleType(name))
    vars(sys.modules["torchvision"]).setdefault("transforms", sys.modules["torchvision.transforms"])
    if not hasattr(matplotlib.cm, "get_cmap"):
        vars(matplotlib.cm)["get_cmap"] = matplotlib.colormaps.__getitem__


def _sparsify(problem: Problem) -> Step:
    if not problem.x_BD.is_cuda:
        os.environ["SPARSIFY_DISABLE_TRITON"] = "1"  # read when it is imported; its decoder is for GPUs
    library = importlib.import_module("sparsify")
    latents, width = problem.W_MD.shape
    sae = library.SparseCoder(width, library.SparseCoderConfig(num_latents=latents, k=problem.k), problem.x_BD.device)
    _copy(sae.encoder.weight, problem.W_MD)
    _copy(sae.W_dec, problem.W_MD)
    _copy(sae.b_dec, problem.b_dec_D)

    def forward() -> Output:
        out = sae(problem.x_BD)
        return Output(out.fvu, (out.sae_out - problem.x_BD).detach(), None)

    return Step(tuple(sae.parameters()), forward)


def _dictionary_learning(problem: Problem) -> Step:
    library = importlib.import_module("dictionary_learning.trainers.top_k")
    latents, width = problem.W_MD.shape
    sae = library.AutoEncoderTopK(width, latents, problem.k).to(problem.x_BD.device)
    _copy(sae.encoder.weight, problem.W_MD)
    _copy(sae.decoder.weight, problem.W_MD.T)
    _copy(sae.b_dec, problem.b_dec_D)
    return Step(tuple(sae.parameters()), lambda: squared_error(sae(problem.x_BD) - problem.x_BD))


@torch.no_grad()
def _copy(target: Any, source: torch.Tensor) -> None:
    target.copy_(source)


PEERS = (
    Contestant(name="sae-lens", operation="mp-tied", build=_sae_lens, module="sae_lens"),
    Contestant(name="overcomplete", operation="mp-tied", build=_overcomplete, module="overcomplete"),
    Contestant(name="eai-sparsify", operation="topk", build=_sparsify, module="sparsify", bfloat16_on_cuda=True),
    Contestant(name="dictionary_learning", operation="topk", build=_dictionary_learning, module="dictionary_learning"),
)
