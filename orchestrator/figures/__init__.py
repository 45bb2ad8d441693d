"""Pictures of a sweep, from the records of its trials."""

import os
from contextlib import suppress

# matplotlib cannot be imported where MPLBACKEND names what is not installed, and every notebook exports one.
_backend = os.environ.pop("MPLBACKEND", None)
import matplotlib  # noqa: E402

if _backend is not None:
    os.environ["MPLBACKEND"] = _backend
    with suppress(ValueError):
        matplotlib.rcParams["backend"] = _backend
