"""`python -m orchestrator.figures`."""

import sys

from orchestrator.figures.command import main

if __name__ == "__main__":
    sys.exit(main())
