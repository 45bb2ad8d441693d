"""Score the trained coders of a sweep that has ended: on more latents, or with an LLM that explains them."""

import sys

from orchestrator.driver.autointerp import main

if __name__ == "__main__":
    sys.exit(main())
