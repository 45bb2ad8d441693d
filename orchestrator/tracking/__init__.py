"""Everything that a sweep tells MLflow, and reading it back; the only room that imports mlflow."""

import sys
from pathlib import Path

try:
    Path.home()
except RuntimeError:  # MLflow asks for it while it is imported
    sys.stderr.write("error: HOME: not set, and this user has no entry in /etc/passwd; set it to a directory\n")
    raise SystemExit(2) from None
