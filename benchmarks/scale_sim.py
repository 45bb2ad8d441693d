"""A grid of 1,000 trials on 8 to 512 GPUs, simulated: how fast and idle, what it moves and costs, what gives way first.

    python -m benchmarks.scale_sim                       # the table of docs/scale.md
    python -m benchmarks.scale_sim --gpus 64 --set network_bytes_per_second=2e10 --price 3.5

Deterministic by --seed. Rates are measured where benchmarks/results/scale_rates.json has them and assumed otherwise;
the output says which is which. The store's policy is the sweeps' own, orchestrator/activations/kept.py.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.machine import describe_machine
from benchmarks.scale.cluster import layout
from benchmarks.scale.outcome import Outcome, markdown, outcome
from benchmarks.scale.rates import Figure, Rates, rates
from benchmarks.scale.simulate import Options
from benchmarks.scale.workload import HOOKPOINTS, workload

GPUS = (8, 16, 32, 64, 128, 256, 512)
WAYS = {
    "as it is": "",
    "spread": "extractors one a node",
    "one order": "all trials read shards in the order of one seed",
    "by hookpoint": "one sweep for each hookpoint, after each other, extractors one a node",
    "spot": "as it is, nodes lost at --loss",
}
ASSUMED_GPU_HOUR = 2.5
"""Dollars for an hour of one H100, assumed."""
ASSUMED_LOSS = 0.05
"""Losses of a spot node in an hour, assumed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, and write it as JSON where asked to."""
    args = _arguments(argv)
    try:
        found = rates(args.device, given=dict(_setting(text) for text in args.set))
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    options = Options(seed=args.seed)
    rows = []
    for way in args.way:
        for gpus in args.gpus:
            rows.append(simulate(way, gpus, found, options, args))
            print(f"{way}, {gpus} GPUs: {rows[-1].hours:.2f} h", file=sys.stderr, flush=True)
    print(f"{figures_table(found)}\n\n{markdown(rows)}")
    if args.out:
        about = describe_machine("cpu", 1) | {"command": " ".join(["python -m benchmarks.scale_sim", *sys.argv[1:]])}
        content = {"about": about, "rates": found.to_json(), "rows": [row.to_json() for row in rows]}
        args.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


def simulate(way: str, gpus: int, found: Rates, options: Options, args: argparse.Namespace) -> Outcome:
    """One row."""
    where = layout(gpus, args.extractors, "spread" if way in ("spread", "by hookpoint") else "packed")
    sizes = {"train_tokens": args.train_tokens, "shard_tokens": args.shard_tokens, "seed": args.seed}
    parts = len(HOOKPOINTS) if way == "by hookpoint" else 1
    work = workload(found, trials=args.trials // parts, hookpoints=len(HOOKPOINTS) // parts, **sizes)
    every = max(1, 200 * (1 << 16) // args.shard_tokens)  # the paper preset's --checkpoint-every, of its batches
    options = replace(options, checkpoint_shards=every, orders="shared" if way == "one order" else "seed")
    if way == "spot":
        options = replace(options, losses_per_node_hour=args.loss)
    return outcome(way, where, [work] * parts, found, options, args.price)


def figures_table(found: Rates) -> str:
    """What the simulation ran on."""

    def line(name: str, figure: Figure) -> str:
        return f"| {name} | {figure.value:.4g} {figure.unit} | {figure.source} | {figure.where} |"

    lines = [line(name, figure) for name, figure in found.figures.items()]
    return "\n".join(["| rate | value | | where from |", "|---|---|---|---|", *lines])


def _setting(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    return name, float(value)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, nargs="+", default=GPUS)
    parser.add_argument("--way", nargs="+", choices=list(WAYS), default=["as it is"], help=str(WAYS))
    parser.add_argument("--device", default="H100", help="a kind that kernels/devices.py has a sheet of")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--train-tokens", type=int, default=1 << 27, help="of a trial (a third of the paper preset's)")
    parser.add_argument("--shard-tokens", type=int, default=1 << 18)
    parser.add_argument("--extractors", type=int, help="GPUs that extract; as sweeps divide them unless given")
    parser.add_argument("--price", type=float, default=ASSUMED_GPU_HOUR, help="of a GPU for an hour (2.5, assumed)")
    parser.add_argument("--loss", type=float, default=ASSUMED_LOSS, help="of a spot node in an hour (0.05, assumed)")
    parser.add_argument("--set", nargs="+", default=[], metavar="RATE=VALUE", help="in place of a rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="file for the same as JSON")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
