"""Every row-wise and TopK kernel compiles for the GPUs we name, without spills and within their shared memory."""

import dataclasses

import pytest

from kernels.gpu import rows, topk, topk_alone
from tests.support import aot

WIDTHS = (576, 2048, 8192)


def rows_cases(width: int) -> list[aot.Case]:
    config = rows.rows_config(width)
    group = {"GROUP": rows.GROUP}
    block = {"GROUP": rows.GROUP, "BLOCK_D": config.block_d}
    f32, i64, i32, size = "*fp32", "*i64", "*i32", "i32:16"

    def case(fn, constexprs, num_warps, **signature):
        name = f"{fn.__name__} D={width}"
        return aot.Case(name=name, fn=fn, signature=signature, constexprs=constexprs, num_warps=num_warps)

    return [
        case(rows._weighted_rows_kernel, block, config.num_warps,
             values=f32, indices=i64, weight=f32, out=f32, K=size, D=size),
        case(rows._row_products_kernel, group | {"BLOCK_D": 128}, 1,
             rows=f32, indices=i64, weight=f32, out=f32, K=size, D=size),
        case(rows._add_outer_kernel, block, config.num_warps,
             out=f32, indices=i64, values=f32, rows=f32, K=size, D=size),
        case(rows._add_pieces_kernel, block, config.num_warps,
             out=f32, partial=f32, latents=i32, starts=i32, order=i64, values=f32, rows=f32,
             M=size, K=size, D=size, piece=size),
        case(rows._join_pieces_kernel, block, config.num_warps,
             out=f32, partial=f32, latents=i32, starts=i32, D=size, piece=size),
    ]  # fmt: skip


def topk_case(capability: int, tokens: int, latents: int, k: int, operands: str) -> aot.Case:
    config = topk.topk_config(tokens, latents, k, capability)
    return aot.Case(
        name=f"topk B={tokens} M={latents} k={k} {operands}",
        fn=topk._tile_candidates_kernel,
        signature={"x": f"*{operands}", "weight": f"*{operands}", "bias": "*fp32", "out": "*i32", "hidden": "*i32",
                   "B": "i32:16", "M": "i32:16", "D": "i32:16"},
        constexprs={"HAS_BIAS": True, "PER_TILE": config.per_tile, "GROUP": config.group, "BLOCK_B": config.block_b,
                    "COLUMNS": topk.COLUMNS, "INNER": topk.INNER},
        num_warps=config.num_warps,
        num_stages=config.num_stages,
        capabilities=(capability,),
    )  # fmt: skip


def topk_cases() -> list[aot.Case]:
    """The kernel does not depend on D; k and M decide how much a tile keeps."""
    shapes = [
        (2**16, 36864, 64, "bf16"),
        (2**16, 65536, 512, "fp16"),
        (2**16, 4608, 128, "bf16"),
        (64, 18432, 32, "fp16"),
        (1, 2**20, 32, "bf16"),
    ]
    return [topk_case(capability, *shape) for capability in aot.CAPABILITIES for shape in shapes]


def one_by_one_case() -> aot.Case:
    return aot.Case(
        name="topk of one token",
        fn=topk_alone._one_by_one_kernel,
        signature={"x": "*fp32", "weight": "*fp32", "bias": "*fp32", "wanted": "*i1", "acts": "*fp32",
                   "indices": "*i64", "M": "i32:16", "D": "i32:16", "K": "i32"},
        constexprs={"HAS_BIAS": True, "COLUMNS": topk_alone.COLUMNS, "BLOCK_D": topk_alone.BLOCK_D},
        num_warps=4,
    )  # fmt: skip


def aot_cases() -> list[aot.Case]:
    return [case for width in WIDTHS for case in rows_cases(width)] + topk_cases() + [one_by_one_case()]


def test_spills_and_too_much_shared_memory_are_complained_about():
    fits = aot.Resources(registers=255, spill_bytes=0, stack_bytes=16, shared_bytes=163 << 10)
    spills = dataclasses.replace(fits, spill_bytes=4)
    shares = dataclasses.replace(fits, shared_bytes=200 << 10)
    kernels = {"fits": fits, "spills": spills, "shares": shares}
    assert [line.split()[0] for line in aot.complaints(kernels, 80)] == ["spills", "shares"]
    assert [line.split()[0] for line in aot.complaints(kernels, 90)] == ["spills"]


@pytest.mark.kit
@pytest.mark.parametrize("capability", aot.CAPABILITIES)
def test_kernels_compile_without_spills(capability):
    resources = aot.compile_module("tests.kernels.test_gpu_compile", capability)
    assert aot.complaints(resources, capability) == []
