"""What a sweep script says of itself, to people who stop listening or stop waiting."""

import signal
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "sweeps" / "smollm_grid.py"


def test_an_interrupted_import_is_one_line() -> None:
    program = "import signal; from orchestrator import driver; signal.raise_signal(signal.SIGINT); import torch"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=600)
    assert done.stderr == "interrupted; nothing had begun\n"
    assert done.returncode == -signal.SIGINT
