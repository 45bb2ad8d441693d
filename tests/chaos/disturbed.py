"""Sweeps that something happens to, and what must be true of them afterwards."""

import json
import os
import re
import shlex
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from mlflow import MlflowClient

from tests.support.sweeps import command, descendants, finished, gone, half_done, results, runs_of, until
from tests.support.waiting import wait_until

TRIAL, EXTRACTOR, BROKER = "ray::ImplicitFunc", "ray::Extractor", "ray::Broker"
RAYLET, GCS = "/raylet/raylet ", "/gcs/gcs_server "
KEPT = "what was done is kept; continue with "
LOOK_SECONDS = 0.2
"""How often the processes below a sweep are looked at, which takes a hundredth of a second."""


def flip(content: bytearray) -> bytes:
    """One bit of the last weight, which no format notices."""
    content[-1] ^= 1
    return bytes(content)


def cut(content: bytearray) -> bytes:
    """The end is missing, as where a machine lost its power."""
    return bytes(content[:-100])


def tell(number: signal.Signals, pid: int) -> bool:
    """Send a signal; False where the process has ended by now."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


class Sweep:
    """One sweep by its name, and the process that runs it now."""

    def __init__(self, model: Path, storage: Path, name: str, *more: str, **environment: str) -> None:
        self.storage, self.name, self.directory = storage, name, storage / name
        self.words = command(model, storage, name, *more)
        self.environment = os.environ | environment
        self.seen: set[psutil.Process] = set()
        self.done: dict[str, int] = {}
        """When the results that a fault found there were written, by trial."""

    def start(self, words: list[str] | None = None, output: Path | None = None) -> "Sweep":
        self.output = output or self.storage / f"{self.name}.output"
        with self.output.open("w", encoding="utf-8") as output:
            self.process = subprocess.Popen(
                words or self.words, stdout=output, stderr=output, start_new_session=True, env=self.environment
            )
        return self

    def until(self, condition: Callable[[], bool]) -> None:
        until(condition, self.process)

    def until_half_done(self) -> None:
        self.until(lambda: bool(half_done(self.directory)))

    def pids(self, title: str) -> list[int]:
        """Processes below the driver whose command line begins with the title, or has it in its path."""
        found = list(descendants(self.process.pid))
        for pid, _ in found:
            with suppress(psutil.NoSuchProcess):
                self.seen.add(psutil.Process(pid))
        return [pid for pid, line in found if title in f"{line.partition(' --')[0]} "]

    def note(self) -> None:
        """What is done now must not be done again."""
        self.done |= {trial.name: (trial / "result.json").stat().st_mtime_ns for trial in finished(self.directory)}

    def tell_first(self, number: signal.Signals, title: str) -> int:
        """Send a signal to the first such process, once there is one; returns its id."""
        told: list[int] = []

        def look() -> bool:
            self.note()
            told.extend(pid for pid in self.pids(title)[:1] if tell(number, pid))
            return bool(told)

        self.until(look)
        return told[0]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within the block trials stand still, one that is half done among them: until then the sweep cannot end."""
        pids: list[int] = []

        def stopped() -> bool:
            pids[:] = self.pids(TRIAL)
            for pid in pids:
                tell(signal.SIGSTOP, pid)
            if pids and half_done(self.directory):
                return True
            go_on()
            return False

        def go_on() -> None:
            for pid in pids:
                tell(signal.SIGCONT, pid)

        try:
            self.until(stopped)
            yield
        finally:
            go_on()

    def send(self, number: signal.Signals) -> None:
        """To the driver and all of its process group, as terminals and job schedulers do it."""
        self.note()
        self.pids("")
        os.killpg(self.process.pid, number)

    def damage(self, change: Callable[[bytearray], bytes]) -> int:
        """Change the weights of every newest checkpoint, and kill all trials; returns how many were changed."""
        pids = self.pids(TRIAL)
        for pid in pids:
            tell(signal.SIGSTOP, pid)  # none goes on to a newer one
        there = [sorted(trial.glob("step-*")) for trial in half_done(self.directory)]
        newest = [checkpoints[-1] / "training.safetensors" for checkpoints in there if checkpoints]
        for weights in newest:
            weights.write_bytes(change(bytearray(weights.read_bytes())))
        self.note()
        for pid in pids:
            tell(signal.SIGKILL, pid)
        return len(newest)

    def end(self, *expect: int) -> str:
        """Wait for the driver to end in one of these ways; returns what it printed."""

        def over() -> bool:
            self.pids("")  # those that take the place of killed ones are to be gone too
            self.note()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=LOOK_SECONDS)
            return self.process.returncode is not None

        wait_until(over, "the end of the sweep")
        status = self.process.returncode
        said = self.output.read_text(encoding="utf-8")
        assert status in expect, f"{status}: {said[-4000:]}"
        self.note()
        return said

    def resume(self, said: str | None = None, output: Path | None = None) -> "Sweep":
        """Go on, with the command that was printed if there is one."""
        if said and KEPT in said:
            return self.start(shlex.split(re.findall(f"{KEPT}(.*)", said)[-1]), output)
        return self.start([*self.words[:2], "--storage", str(self.storage), "--resume", self.name], output)

    def check(self, undisturbed: "Sweep", tracking: str | None = None) -> None:
        """It ended as if nothing had happened: weights, figures, runs."""
        assert results(self.storage, self.name) == results(undisturbed.storage, undisturbed.name)
        for trial in (undisturbed.directory / "trials").iterdir():
            for file in ("sae.safetensors", "cfg.json"):
                ours = self.directory / "trials" / trial.name / "coder" / file
                assert ours.read_bytes() == (trial / "coder" / file).read_bytes(), f"{trial.name} {file}"
        for name, written in self.done.items():
            now = (self.directory / "trials" / name / "result.json").stat().st_mtime_ns
            assert now == written, f"{name} ran again"
        assert not list(self.directory.glob("trials/*/step-*"))
        check_runs(self, undisturbed, tracking or database(self))
        gone(self.seen)


def database(sweep: Sweep) -> str:
    """Where MLflow has a sweep that was told of no server."""
    return f"sqlite:///{sweep.storage}/mlflow.db"


def curves(sweep: Sweep, uri: str) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of the training curve of every trial."""
    client, key = MlflowClient(uri), "train/fvu"
    return {
        run.info.run_name: sorted(
            (point.step, point.value) for point in client.get_metric_history(run.info.run_id, key)
        )
        for run in runs_of(sweep.storage, sweep.name, uri)
        if run.info.run_name != sweep.name
    }  # fmt: skip


def check_runs(sweep: Sweep, undisturbed: Sweep, uri: str) -> None:
    """One run for the sweep and one for each trial, all FINISHED; no point twice, and none of a curve missing."""
    found = runs_of(sweep.storage, sweep.name, uri)
    trials = json.loads((sweep.directory / "results.json").read_text(encoding="utf-8"))["results"]
    assert sorted(run.info.run_name for run in found) == sorted([sweep.name, *trials])
    assert {run.info.status for run in found} == {"FINISHED"}
    client = MlflowClient(uri)
    for run in found:
        for key in run.data.metrics:
            steps = Counter(point.step for point in client.get_metric_history(run.info.run_id, key))
            assert set(steps.values()) == {1}, f"{run.info.run_name} {key} was logged twice"
    expected = curves(undisturbed, database(undisturbed))
    assert all(expected.values())
    assert curves(sweep, uri) == expected
