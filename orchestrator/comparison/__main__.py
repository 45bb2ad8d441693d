"""`python -m orchestrator.comparison`."""

import sys

from orchestrator.comparison.command import main

if __name__ == "__main__":
    sys.exit(main())
