"""The command that scores the trials of a sweep at any time after it ended."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from orchestrator.command_line.read import read
from orchestrator.command_line.words import asks_for_help
from orchestrator.driver.claims import TRACKING_DIRECTORY, locked, saved_config
from orchestrator.driver.inputs import gather_inputs
from orchestrator.driver.interruption import Interruption
from orchestrator.driver.logs import be_quiet
from orchestrator.driver.prepare import prepare
from orchestrator.driver.ray_session import join_cluster, leave_ray, start_private_ray
from orchestrator.driver.report import say
from orchestrator.driver.rescore import rescore
from orchestrator.driver.script import exit_status
from orchestrator.errors import UserError
from orchestrator.grid.config import Scorer, SweepConfig
from orchestrator.grid.hardware import detect
from orchestrator.storage.address import home_of
from orchestrator.storage.mirror import mirrored
from orchestrator.tracking.addresses import default_uri
from orchestrator.tracking.reader import experiment_of, place_of


@dataclass(frozen=True, kw_only=True)
class Command:
    """Score the trained coders of a sweep that has ended; latents that are scored already are not scored again."""

    sweep: str | None = None
    """Name of a sweep under `storage`, all of whose trials are scored."""
    run: str | None = None
    """Id of an MLflow run instead: a trial's, or that of a sweep."""
    storage: Path = SweepConfig.storage
    """Directory with the sweep."""
    tracking_uri: str | None = None
    """MLflow server; MLFLOW_TRACKING_URI, or a SQLite store under `storage`, unless given."""
    scores: Literal["laptop", "study", "inference"] = "laptop"
    """Faithfulness and interpretability on 40 latents, or on the 500 of the study; or FVU at every k of the grid and
    with other encoders."""
    explainer: str | None = None
    """LLM that explains latents: openai:URL (key in OPENAI_API_KEY), vllm:MODEL or transformers:MODEL."""
    scorer: tuple[Scorer, ...] = ()
    """Scorers of interpretability; unless given example_embedding, and with an explainer also fuzz and detection."""
    quiet: bool = False
    """Say nothing but warnings, errors and the outcome."""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status, as a sweep script does."""
    words = sys.argv[1:] if argv is None else argv
    return exit_status(lambda interruption: _main(words, interruption))


def _main(argv: Sequence[str], interruption: Interruption) -> int:
    try:
        connected = not asks_for_help(argv) and join_cluster(interruption)
        command = read(Command, argv, str(Command.__doc__))
        if command.quiet:
            be_quiet()
        sweep, trial = _asked(command)
        began_as = replace(
            SweepConfig.from_json(saved_config(command.storage, sweep)),
            storage=command.storage, tracking_uri=command.tracking_uri,
        )  # fmt: skip
        asked = replace(began_as, scores=command.scores, explainer=command.explainer, scorer=command.scorer)
        hardware = detect(connected)
        prepared = prepare(asked, hardware)
        directory = home_of(command.storage) / sweep
        uri = command.tracking_uri or default_uri(home_of(command.storage))
        with locked(directory), mirrored(directory, command.storage):
            experiment = experiment_of(uri, directory / TRACKING_DIRECTORY)
            inputs = gather_inputs(prepared.cfg, directory)
            if not connected:
                start_private_ray(hardware, interruption)
            outcome = rescore(prepared, began_as, inputs, directory, experiment, interruption, trial)
    finally:
        leave_ray(interruption)
    status = say(outcome, began_as, directory)
    return interruption.exit_status if interruption.signal else status


def _asked(command: Command) -> tuple[str, str | None]:
    """The sweep, and the trial where one is meant. Raises UserError."""
    if (command.sweep is None) == (command.run is None):
        raise UserError("sweep: give --sweep NAME, or --run with the id of a run in MLflow")
    if command.sweep is not None:
        return command.sweep, None
    return place_of(command.tracking_uri or default_uri(home_of(command.storage)), str(command.run))
