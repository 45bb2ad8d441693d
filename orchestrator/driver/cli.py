"""The command line of sweeps over language models: its flags are the fields of `SweepConfig`."""

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.command_line.read import reader_may_leave
from orchestrator.command_line.words import asks_for_help
from orchestrator.driver.claims import directory_of, locked
from orchestrator.driver.inputs import gather_inputs
from orchestrator.driver.interruption import Interruption
from orchestrator.driver.prepare import Prepared, prepare
from orchestrator.driver.ray_session import join_cluster, leave_ray, start_private_ray
from orchestrator.driver.script import Flags, Preset, Request, exit_status, read_command_line
from orchestrator.errors import UserError
from orchestrator.grid.config import SweepConfig
from orchestrator.grid.hardware import Hardware, detect
from orchestrator.grid.memory import check_memory
from orchestrator.language_models.loading import fingerprint
from orchestrator.scores.protocol import is_scored
from orchestrator.storage.address import home_of
from orchestrator.storage.mirror import mirrored
from orchestrator.trials.results import TRIALS_DIRECTORY, figures_of, result_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Command(Flags, SweepConfig):
    """A sweep script's flags: the sweep, and what to do with it."""


def main(
    description: str, experiment: str, presets: Mapping[str, SweepConfig], argv: Sequence[str] | None = None
) -> int:
    """Run a sweep script; returns its exit status."""
    words = sys.argv[1:] if argv is None else argv
    return exit_status(lambda interruption: _main(description, experiment, presets, words, interruption))


def _main(
    description: str,
    experiment: str,
    presets: Mapping[str, SweepConfig],
    argv: Sequence[str],
    interruption: Interruption,
) -> int:
    try:
        connected = not asks_for_help(argv) and join_cluster(interruption)
        hardware = detect(connected)
        request = read_command_line(
            argv, SweepConfig, Command, lambda name: _preset(name, presets, hardware), description, experiment
        )
        prepared = prepare(request.cfg, hardware)
        if request.plan or not request.quiet:
            with reader_may_leave():
                sys.stdout.write(prepared.plan.describe(*_done(request, prepared)) + "\n")
        if request.plan:
            return 0
        check_memory(prepared.cells, request.cfg.batch_tokens, hardware)
        # Here and not above, since neither help, a plan nor a mistake waits seconds for MLflow, Ray Tune and plotly.
        from orchestrator.driver.report import say
        from orchestrator.driver.sweep import run

        with (
            directory_of(request.cfg, request.resume) as directory,
            locked(directory),
            mirrored(directory, request.cfg.storage),
        ):
            inputs = gather_inputs(request.cfg, directory)
            if not connected:
                start_private_ray(hardware, interruption)
            outcome = run(prepared, inputs, directory, experiment, interruption)
    finally:
        leave_ray(interruption)
    status = say(outcome, request.cfg, directory)
    return interruption.exit_status if interruption.signal else status


def _done(request: Request[SweepConfig], prepared: Prepared) -> tuple[set[str], set[str]]:
    """Trials of a sweep to be resumed that have a result, and those of which there is nothing left to score."""
    if not request.resume:
        return set(), set()
    trials = home_of(request.cfg.storage) / request.resume / TRIALS_DIRECTORY
    names = [cell.name for cell in prepared.cells]
    trained = {name: result for name in names if (result := result_of(trials / name)) is not None}
    scored = {name for name in names if is_scored(figures_of(trials / name), prepared.cfg.scores)}
    return set(trained), scored | {name for name, result in trained.items() if "failure" in result}


def _preset(asked: Preset, presets: Mapping[str, SweepConfig], hardware: Hardware) -> SweepConfig:
    name: str = asked
    if name == "auto":
        name, reason = "laptop", hardware.describe()
        if hardware.gpus:
            try:
                name, _ = "paper", [fingerprint(model) for model in presets["paper"].model]
            except UserError as error:
                reason += f", where {error}"
        log.info("preset auto: taking %s, for %s", name, reason)
    return presets[name]
