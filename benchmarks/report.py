"""A run's results as Markdown."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.contestants import Operation
from benchmarks.presets import Axis, Preset
from benchmarks.problem import DICTIONARY, Case, distinct_tokens
from benchmarks.schedule import Row
from benchmarks.worker import CONTESTANTS

TABLES: dict[str, tuple[set[Operation], tuple[str, ...]]] = {
    "Matching pursuit": ({"mp", "mp-tied", "mp-sliced"}, ("ours", "ours, tied")),
    "TopK": ({"topk"}, ("ours, TopK",)),
}
"""Title -> what its rows compute, and whom they are compared with."""
RECOMPUTE = "ours, recompute form"


class Fit(NamedTuple):
    """A least-squares line."""

    slope: float
    intercept: float
    r2: float


def fit_line(x: Iterable[float], y: Iterable[float]) -> Fit:
    """`y ≈ slope·x + intercept`."""
    xs, ys = np.array(list(x), dtype=float), np.array(list(y), dtype=float)
    slope, intercept = np.polyfit(xs, ys, 1)
    left = ((ys - slope * xs - intercept) ** 2).sum() / ((ys - ys.mean()) ** 2).sum()
    return Fit(float(slope), float(intercept), float(1 - left))


def rows_at(results: dict[str, Any], case: Case) -> dict[str, Row]:
    """Each contestant's row at a case."""
    wanted = {"tokens": case.tokens, "latents": case.latents, "k": case.k}
    return {row["contestant"]: row for row in results["rows"] if row["case"] == wanted}


def median(times: list[float]) -> float:
    """Of at least one time."""
    return float(np.median(times))


def render(results: dict[str, Any], preset: Preset) -> str:
    """The whole page."""
    parts = [_header(results)]
    for case in preset.cases:
        rows = rows_at(results, case)
        for title, (operations, baselines) in TABLES.items():
            chosen = {name: row for name, row in rows.items() if CONTESTANTS[name].operation in operations}
            if chosen:
                parts.append(f"## {title}: {_shape(case)}\n\n{_table(chosen, baselines)}")
        if (row := rows.get(RECOMPUTE)) and row["status"] == "ok":
            parts.append(_matrix_share(row, case, results))
    parts += [_growth(results, axis) for axis in preset.axes]
    return "\n\n".join(parts) + "\n"


def _header(results: dict[str, Any]) -> str:
    rates, data = results["rates"], results["data"]
    most = max(row["case"]["tokens"] for row in results["rows"])
    lines = [f"- {key}: {value}" for key, value in results["about"].items()]
    lines += [
        f"- rates measured in this run: products {rates['float32'] / 1e12:.2f} TFLOP/s in float32, "
        f"{rates['bfloat16'] / 1e12:.2f} in bfloat16; memory {rates['read'] / 1e9:.1f} GB/s read, "
        f"{rates['copy'] / 1e9:.1f} copied (read plus written)",
        f"- data: {data['source']}, d = {data['width']}, {distinct_tokens(data['rows'], most):,} distinct tokens in "
        f"the largest batch; dictionary: {DICTIONARY}",
    ]
    return f"# Benchmark `{results['name']}`\n\n" + "\n".join(lines) + "\n\n" + _METHOD


_METHOD = """\
A step is forward, loss and backward, without an optimiser, on float32 weights: the median over the steps of all rounds,
in brackets the 20th and 80th percentile. Every contestant runs in a process of its own, anew each round, and the order
turns round every round. The weights are written before each step, so that nothing made from them is kept. Extra memory
is the peak of the first full step, gradients included, beyond what the process held before it. Before it is timed, a
contestant's FVU must equal the float64 reference's within the tolerance in brackets; without that it gets no time.
Agreement is the share of the reference's selections that were made (at the same step; for TopK, in any order).
A ratio above 1 means slower, or more memory, than that version of ours."""


def _shape(case: Case) -> str:
    return f"M = {case.latents:,}, k = {case.k}, B = {case.tokens:,}"


def _table(rows: dict[str, Row], baselines: tuple[str, ...]) -> str:
    bases = [name for name in baselines if name in rows]
    head = ["contestant", "computes", "step, s", "forward, s", *(f"time / {name}" for name in bases)]
    head += ["extra memory, MiB", *(f"memory / {name}" for name in bases), "FVU − reference", "agreement"]
    lines = [head, ["---"] * len(head)]
    for name, row in rows.items():
        cells = [name, CONTESTANTS[name].operation]
        if row["status"] == "ok":
            cells += _cells(row, [rows[base] for base in bases])
        else:
            cells += [f"{row['status']}: {row['reason']}", *[""] * (len(head) - 3)]
        lines.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cells(row: Row, bases: list[Row]) -> list[str]:
    step_s = row["step_s"]
    low, high = np.percentile(step_s, (20, 80))
    memory = row["extra_bytes"]
    return [
        f"{median(step_s):.3f} ({low:.3f}–{high:.3f}; {len(step_s)} steps)",
        f"{median(row['forward_s']):.3f}",
        *(_ratio(median(step_s), median(base["step_s"])) if base["status"] == "ok" else "–" for base in bases),
        "unknown" if memory is None else f"{memory / 2**20:,.0f}",
        *(_ratio(memory, base.get("extra_bytes")) if base["status"] == "ok" else "–" for base in bases),
        f"{row['fvu'] - row['reference_fvu']:+.1e} ({row['tolerance']:.0e})",
        "–" if row["agreement"] is None else f"{100 * row['agreement']:.3f} %",
    ]


def _ratio(value: float | None, base: float | None) -> str:
    return f"{value / base:.2f}" if value is not None and base else "–"


def _matrix_share(row: Row, case: Case, results: dict[str, Any]) -> str:
    rate = 2.0 * case.tokens * case.k * case.latents * results["data"]["width"] / median(row["forward_s"])
    share = rate / results["rates"]["bfloat16"]
    return (
        f"Recompute form: 2·B·k·M·d flops in the forward's time are {rate / 1e12:.2f} TFLOP/s, "
        f"{100 * share:.0f} % of the bfloat16 rate measured in this run."
    )


def _growth(results: dict[str, Any], axis: Axis) -> str:
    sizes, lines = [], [f"| {axis.letter} | step, s | forward, s |", "| --- | --- | --- |"]
    rows = []
    for case in axis.cases:
        row = rows_at(results, case)[axis.contestant]
        size = axis.size(case)
        if row["status"] == "ok":
            sizes.append(size)
            rows.append(row)
            lines.append(f"| {size:,} | {median(row['step_s']):.4f} | {median(row['forward_s']):.4f} |")
        else:
            lines.append(f"| {size:,} | {row['status']}: {row['reason']} | |")
    parts = [f"## Growth with {axis.letter}: {axis.contestant}, {_rest(axis)}", "\n".join(lines)]
    if len(rows) > 2:
        for part in ("step_s", "forward_s"):
            fit = fit_line(sizes, [median(row[part]) for row in rows])
            parts.append(
                f"{part.removesuffix('_s')} ≈ {fit.intercept:.4f} s + {axis.letter} · {fit.slope * 1e6:.3f} µs, "
                f"R² = {fit.r2:.4f}"
            )
        if "gram_itemsize" in rows[0]["facts"]:
            parts.append(_bandwidth_share(fit, rows[0], axis.cases[0], results))
    return "\n\n".join(parts)


def _rest(axis: Axis) -> str:
    case = axis.cases[0]
    fixed = {"B": case.tokens, "M": case.latents, "k": case.k}
    return ", ".join(f"{letter} = {size:,}" for letter, size in fixed.items() if letter != axis.letter)


def _bandwidth_share(fit: Fit, row: Row, case: Case, results: dict[str, Any]) -> str:
    itemsize = int(row["facts"]["gram_itemsize"])
    product = 2.0 * case.tokens * results["data"]["width"] / results["rates"]["bfloat16"]
    limit = case.tokens * case.k * itemsize / results["rates"]["read"]
    return (
        f"Reading one row of H for every token and step is B·k·{itemsize} bytes per latent, {limit * 1e6:.3f} µs at "
        f"the measured read rate: the forward's slope is {fit.slope / limit:.2f} times that. The slope also holds the "
        f"first product, 2·B·d flops per latent, {product * 1e6:.3f} µs at the measured bfloat16 rate."
    )
