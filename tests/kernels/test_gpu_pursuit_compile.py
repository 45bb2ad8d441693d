"""Every matching-pursuit kernel compiles for the GPUs we name, without spills and within their shared memory."""

import pytest
import torch

from kernels.gpu import mp_backward, mp_recompute, mp_update
from kernels.rules import Rules
from tests.support import aot

UPDATE_SHAPES = [(4608, 576), (9216, 576), (18432, 576), (36864, 576), (36864, 8192), (4608, 8192), (65536, 2048)]
BACKWARD_WIDTHS = (576, 2048, 8192)
STEPS = 64
PLAIN = Rules(k=STEPS)
RECOMPUTE = {
    "plain": (2**16, 36864, 576, PLAIN, "bf16"),
    "stopping": (2**16, 36864, 2048, Rules(k=STEPS, residual_threshold=1.0), "bf16"),
    "excluded": (2**16, 36864, 576, PLAIN, "bf16"),
    "repeats": (2**16, 36864, 576, Rules(k=STEPS, repeats=True), "fp16"),
    "few latents": (2**16, 1000, 576, PLAIN, "bf16"),
    "few tokens": (4096, 36864, 2048, PLAIN, "bf16"),
    "few of both": (4096, 4608, 8192, PLAIN, "bf16"),
    "sliced": (2**16, 36864, 576, Rules(k=STEPS, sliced=True), "bf16"),
    "fp32": (4096, 4608, 576, PLAIN, "fp32"),
}
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def size(number: int) -> str:
    return "i32:16" if number % 16 == 0 else "i32"


def update_case(latents: int, width: int, gram: str = "fp16", stops: bool = False) -> aot.Case:
    config = mp_update.update_config(latents, width, DTYPES[gram])
    fn = mp_update._update_on_chip if config.on_chip else mp_update._update_in_memory
    pointers = dict.fromkeys(("scores", "W_enc", "b_enc", "W_dec", "error_scale", "acts", "residual"), "*fp32")
    return aot.Case(
        name=f"update M={latents} D={width} {gram}{' stopping' if stops else ''}",
        fn=fn,
        signature=pointers
        | {"gram": f"*{gram}", "indices": "*i64", "M": size(latents), "D": size(width), "K": "i32"}
        | {"threshold_squared": "fp32", "repeats": "i32"},
        constexprs={"TILES": config.tiles, "TILE": config.tile, "BLOCK_D": config.block_d, "AHEAD": config.ahead}
        | {"STOPS": stops},
        num_warps=config.num_warps,
        maxnreg=mp_update.MAX_REGISTERS,
    )


def recompute_case(name: str, capability: int) -> aot.Case:
    tokens, latents, width, rules, operands = RECOMPUTE[name]
    config = mp_recompute.recompute_config(tokens, latents, rules, DTYPES[operands], capability // 10)
    pointers = dict.fromkeys(("residual", "W_enc", "b_enc", "W_dec", "error_scale", "acts"), "*fp32")
    return aot.Case(
        name=f"recompute {name}",
        fn=mp_recompute._recompute_kernel,
        signature=pointers
        | {"operands": f"*{operands}", "W_operands": f"*{operands}", "bits": "*i32", "indices": "*i64"}
        | ({"excluded": "*i64"} if name == "excluded" else {})
        | {"B": size(tokens), "M": size(latents), "D": size(width), "WORDS": "i32", "K": "i32"}
        | {"threshold_squared": "fp32"},
        constexprs=mp_recompute.constants(config, width, rules, DTYPES[operands], per_step=rules.sliced)
        | ({} if name == "excluded" else {"excluded": None}),
        num_warps=config.num_warps,
        num_stages=config.num_stages,
        maxnreg=mp_recompute.MAX_REGISTERS,
        capabilities=(capability,),
    )


def backward_case(width: int, stored: bool, tied: bool = False) -> aot.Case:
    config = mp_backward.backward_config(width)
    names = mp_backward._backward_kernel.arg_names
    absent = ("grad_W_enc", "grad_W_dec") if stored else ("stored_r", "stored_g", *(("grad_W_enc",) if tied else ()))
    pointers = dict.fromkeys(names[: names.index("M")], "*fp32") | {"indices": "*i64"}
    return aot.Case(
        name=f"backward D={width} {'stored' if stored else 'tied' if tied else 'atomic'}",
        fn=mp_backward._backward_kernel,
        signature=pointers | {"M": "i32", "D": size(width), "K": "i32"},
        constexprs=dict.fromkeys(absent)
        | {"BLOCK_D": config.block_d, "DETACH": False, "PER_STEP": False, "STORE": stored},
        num_warps=config.num_warps,
    )


def aot_cases() -> list[aot.Case]:
    return [
        *(update_case(*shape) for shape in UPDATE_SHAPES),
        update_case(24576, 576, "fp32"),
        update_case(36864, 576, stops=True),
        *(recompute_case(name, capability) for capability in aot.CAPABILITIES for name in RECOMPUTE),
        *(backward_case(width, stored) for width in BACKWARD_WIDTHS for stored in (False, True)),
        backward_case(576, stored=False, tied=True),
    ]


@pytest.mark.kit
@pytest.mark.parametrize("capability", aot.CAPABILITIES)
def test_kernels_compile_without_spills(capability):
    resources = aot.compile_module("tests.kernels.test_gpu_pursuit_compile", capability)
    assert len(resources) == len(UPDATE_SHAPES) + 2 + len(RECOMPUTE) + 2 * len(BACKWARD_WIDTHS) + 1
    assert aot.complaints(resources, capability) == []
