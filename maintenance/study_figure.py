"""Draw the figure of docs/study.md: sweeps of sweeps/study_bias.py beside what the post says of each place.

python -m maintenance.study_figure NAME [NAME ...] --storage runs --out docs/images/study_bias.png
"""

import argparse
from dataclasses import replace
from pathlib import Path

from orchestrator.figures.colours import looks_of
from orchestrator.figures.data import fvu_against_k
from orchestrator.figures.png import write_png
from orchestrator.tracking.addresses import default_uri
from orchestrator.tracking.reader import read_sweeps

POST = {
    "residual": "post: mp higher at k 16, 32,\nno higher from 64",
    "mlp": "post: mp lower at every k",
}


def main() -> None:
    """Read the sweeps from MLflow and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="+", help="name of a sweep, or the id of its run")
    parser.add_argument("--storage", type=Path, default=Path("runs"), help="directory with MLflow's store (runs)")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    given = parser.parse_args()
    sweeps = read_sweeps(default_uri(given.storage), tuple(given.run))
    records = tuple(record for sweep in sweeps for record in sweep.records)
    figure = fvu_against_k(records, looks_of(record.variant for record in records))
    if figure is None:
        parser.error(f"{' '.join(given.run)}: no trial has finished, or all have one k")
    panels = tuple(
        replace(panel, title=f"{panel.title}\n{POST['mlp' if '.mlp' in panel.title else 'residual']}")
        for panel in figure.panels
    )
    write_png(replace(figure, title="Held-out FVU against k, and what the post says", panels=panels), given.out)


if __name__ == "__main__":
    main()
