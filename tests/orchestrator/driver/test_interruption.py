"""What signals do to a script, each tried in a process of its own."""

import subprocess
import sys

import pytest

from tests.support.waiting import LIMIT_SECONDS

BEGIN = """
import os, signal, sys, threading, time
from concurrent.futures import Future, ThreadPoolExecutor
from orchestrator.driver.interruption import Interruption
from orchestrator.driver.script import exit_status
"""


def run(program: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", BEGIN + program], capture_output=True, text=True, timeout=LIMIT_SECONDS
    )


@pytest.mark.parametrize(("name", "status"), [("SIGHUP", 129), ("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_a_script_with_its_status(name: str, status: int) -> None:
    done = run(f"sys.exit(exit_status(lambda interruption: signal.raise_signal(signal.{name})))")
    assert (done.returncode, done.stderr) == (status, "interrupted; nothing had begun\n")


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGTERM"])
def test_a_signal_that_is_ignored_stays_so(name: str) -> None:
    """As with nohup, and in scripts that a shell runs in the background."""
    done = run(f"""
signal.signal(signal.{name}, signal.SIG_IGN)
def script(interruption):
    signal.raise_signal(signal.{name})
    return 0
sys.exit(exit_status(script))
""")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_patient_block_is_told_and_the_second_signal_ends_it() -> None:
    done = run("""
def script(interruption):
    with interruption.patient():
        signal.raise_signal(signal.SIGTERM)
        print(interruption.signal)
        signal.raise_signal(signal.SIGINT)
        print("not here")
sys.exit(exit_status(script))
""")
    assert (done.returncode, done.stdout) == (130, "15\n")


@pytest.mark.parametrize("fails", [False, True])
def test_work_that_must_not_be_broken_off_is_outlasted_and_what_it_took_over_is_taken_back(fails: bool) -> None:
    done = run(f"""
def script(interruption):
    work, taken = Future(), signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
    def library():
        while signal.getsignal(signal.SIGTERM) != taken:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        while interruption.signal is None:
            time.sleep(0.01)
        print("was not broken off")
        work.set_exception(RuntimeError()) if {fails} else work.set_result(None)
    threading.Thread(target=library, daemon=True).start()
    interruption.outlast(work)
sys.exit(exit_status(script))
""")
    assert (done.returncode, done.stdout) == (143, "was not broken off\n")


def test_the_work_s_own_failure_is_raised() -> None:
    done = run("""
def script(interruption):
    work = Future()
    work.set_exception(RuntimeError("of its own"))
    interruption.outlast(work)
sys.exit(exit_status(script))
""")
    assert done.stderr.endswith("RuntimeError: of its own\n")
