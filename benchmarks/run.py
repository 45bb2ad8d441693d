"""Measure training steps: ours against other libraries.

    python -m benchmarks.run                        # the comparison, about 20 minutes on two cores
    python -m benchmarks.run --preset growth        # ours alone, against B, k and M
    python -m benchmarks.run --preset h100 --device cuda --activations FILE.safetensors

Peers that are not installed are listed as such; benchmarks/requirements.lock says how to install them.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import torch

from benchmarks.activations import HOOKPOINT, cached_activations, load_activations
from benchmarks.machine import describe_machine
from benchmarks.plot import draw
from benchmarks.presets import PRESETS, Preset
from benchmarks.problem import Case
from benchmarks.report import render
from benchmarks.schedule import Settings, run_preset
from benchmarks.worker import CONTESTANTS
from orchestrator.errors import UserError

RESULTS = Path(__file__).parent / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a preset and write `RESULTS/NAME.md`, `.json` and, where there is a line to draw, `.png`."""
    options = _parser().parse_args(arguments)
    try:
        preset = _preset(options)
        if options.device == "cuda" and not torch.cuda.is_available():
            raise UserError("--device cuda: torch finds no GPU here")
        activations = options.activations or cached_activations(_tokens(preset))
        rows, width = load_activations(activations).shape
        source = str(activations) if options.activations else f"SmolLM2-135M-Instruct, {HOOKPOINT}"
        print(f"activations: {activations}", file=sys.stderr)
        about = describe_machine(options.device, options.threads)
        measured = run_preset(preset, Settings(activations.resolve(), options.device, options.threads))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    name = options.name or options.preset
    results = {"name": name, "about": about, "data": {"source": source, "rows": rows, "width": width}, **measured}
    _write(results, preset, options.results / name)
    return int(any(row["status"] == "failed its check" for row in measured["rows"]))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without the usage."""
        self.exit(2, f"error: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m benchmarks.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--preset", choices=PRESETS, default="default")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--threads", type=_positive, default=os.cpu_count() or 1, help="of each process; default: all cores")
    add(
        "--activations",
        type=Path,
        metavar="FILE",
        help="safetensors file with `activations` [N, d]; default: SmolLM2's",
    )
    add("--only", nargs="+", metavar="NAME", help=f"contestants of the preset to keep, of: {'; '.join(CONTESTANTS)}")
    add("--tokens", type=_positive, help="B of every case, in place of the preset's")
    add("--latents", type=_positive, help="M of every case, in place of the preset's")
    add("--k", type=_positive, help="k of every case, in place of the preset's")
    add("--results", type=Path, default=RESULTS, metavar="DIRECTORY")
    add("--name", help="of the files written; default: the preset's")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not positive")
    return value


_positive.__name__ = "positive integer"  # argparse's word for a value that is none


def _preset(options: argparse.Namespace) -> Preset:
    preset = PRESETS[options.preset]
    shape = {name: getattr(options, name) for name in ("tokens", "latents", "k") if getattr(options, name)}
    if shape and preset.axes:
        raise UserError(f"--{next(iter(shape))}: the preset {options.preset} varies the shape itself")
    cases: dict[Case, None] = dict.fromkeys(replace(case, **shape) for case in preset.cases)
    for case in cases:
        if case.k > case.latents:
            raise UserError(f"--k {case.k} is more than the {case.latents} latents")
    if not options.only:
        return replace(preset, cases=tuple(cases))
    known = list(preset.work())
    for name in options.only:
        if name not in known:
            raise UserError(f"--only {name!r}: the preset {options.preset} has {'; '.join(known)}")
    axes = tuple(axis for axis in preset.axes if axis.contestant in options.only)
    contestants = tuple(name for name in preset.contestants if name in options.only)
    return replace(preset, cases=tuple(cases), contestants=contestants, axes=axes)


def _tokens(preset: Preset) -> int:
    return max(case.tokens for cases in preset.work().values() for case in cases)


def _write(results: dict[str, object], preset: Preset, stem: Path) -> None:
    """All files of a complete run; each takes its place at once."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    text, suffixes = render(results, preset), [".json", ".md"]
    unfinished = {suffix: stem.with_name(f".{stem.name}.{os.getpid()}{suffix}") for suffix in (*suffixes, ".png")}
    if draw(results, preset, unfinished[".png"]):
        suffixes.insert(0, ".png")
        text += f"\n![Seconds per training step]({stem.name}.png)\n"
    unfinished[".json"].write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    unfinished[".md"].write_text(text, encoding="utf-8")
    for suffix in suffixes:
        unfinished[suffix].replace(stem.with_name(stem.name + suffix))
    print(stem.with_name(f"{stem.name}.md"))


if __name__ == "__main__":
    sys.exit(main())
