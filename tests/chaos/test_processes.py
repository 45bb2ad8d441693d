"""A process of a sweep is killed, or the whole is asked to end: it goes on, or is continued, and nothing is lost."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.disturbed import BROKER, EXTRACTOR, GCS, RAYLET, TRIAL, Sweep, cut, flip, tell
from tests.support.sweeps import finish, finished, half_done

pytestmark = pytest.mark.chaos


@pytest.mark.parametrize("title", [TRIAL, EXTRACTOR, BROKER])
def test_a_killed_process_is_made_up_for(title: str, undisturbed: Sweep, tiny_model: Path, tmp_path: Path) -> None:
    sweep = Sweep(tiny_model, tmp_path, "killed").start()
    sweep.until_half_done()
    sweep.tell_first(signal.SIGKILL, title)
    sweep.end(0)
    sweep.check(undisturbed)


def test_a_trial_that_stands_still_stops_no_other(undisturbed: Sweep, tiny_model: Path, tmp_path: Path) -> None:
    sweep = Sweep(tiny_model, tmp_path, "slow").start()
    sweep.until_half_done()
    slow = sweep.tell_first(signal.SIGSTOP, TRIAL)
    sweep.until(lambda: len(finished(sweep.directory)) >= 3)
    tell(signal.SIGCONT, slow)
    sweep.end(0)
    sweep.check(undisturbed)


@pytest.mark.parametrize(("title", "ends"), [(RAYLET, (2,)), (GCS, (1, 2))], ids=["raylet", "gcs"])
def test_a_machine_without_ray_ends_the_sweep(
    title: str, ends: tuple[int, ...], undisturbed: Sweep, tiny_model: Path, tmp_path: Path
) -> None:
    sweep = Sweep(tiny_model, tmp_path, "lost").start()
    sweep.until_half_done()
    sweep.tell_first(signal.SIGKILL, title)
    said = sweep.end(*ends)
    sweep.resume(said).end(0)
    sweep.check(undisturbed)


def test_another_sweep_does_not_join_the_private_ray_of_this_one(tiny_model: Path, tmp_path: Path) -> None:
    sweep = Sweep(tiny_model, tmp_path, "private").start()
    sweep.until_half_done()
    join = (
        "from orchestrator.driver.interruption import Interruption;"
        "from orchestrator.driver.ray_session import join_cluster; print(join_cluster(Interruption()))"
    )
    assert finish(sys.executable, "-c", join).strip().endswith("False")
    sweep.end(0)


def test_a_killed_driver_is_continued(undisturbed: Sweep, tiny_model: Path, tmp_path: Path) -> None:
    sweep = Sweep(tiny_model, tmp_path, "driver").start()
    sweep.until_half_done()
    sweep.note()
    sweep.pids("")
    sweep.process.kill()
    sweep.end(-signal.SIGKILL)
    sweep.resume().end(0)
    sweep.check(undisturbed)


@pytest.mark.parametrize("asking", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda asking: asking.name)
def test_what_asks_a_sweep_to_end_is_told_how_to_go_on(
    asking: signal.Signals, undisturbed: Sweep, tiny_model: Path, tmp_path: Path
) -> None:
    sweep = Sweep(tiny_model, tmp_path, asking.name).start()
    sweep.until_half_done()
    sweep.send(asking)
    said = sweep.end(128 + asking)
    assert "Traceback" not in said
    assert said.count("what was done is kept; continue with ") == 1
    sweep.resume(said).end(0)
    sweep.check(undisturbed)


@pytest.mark.parametrize("change", [flip, cut], ids=["a flipped bit", "cut short"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    change: Callable[[bytearray], bytes], undisturbed: Sweep, tiny_model: Path, tmp_path: Path
) -> None:
    sweep = Sweep(tiny_model, tmp_path, "damaged").start()
    sweep.until(lambda: any(len(list(trial.glob("step-*"))) == 2 for trial in half_done(sweep.directory)))
    assert sweep.damage(change)
    sweep.end(0)
    sweep.check(undisturbed)
