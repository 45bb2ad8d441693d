"""A sweep from the command line to its comparison."""

import sys
from types import TracebackType


def _say_interrupted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Importing torch and Ray takes seconds, in which Ctrl-C is no one's fault and needs no traceback."""
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("interrupted; nothing had begun\n")
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _say_interrupted

if sys.flags.optimize > 1:  # Ray cannot be imported
    sys.stderr.write("error: PYTHONOPTIMIZE 2: Ray needs docstrings; set it to 1, or to nothing\n")
    raise SystemExit(2)
