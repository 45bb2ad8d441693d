"""What asking the Hugging Face hub can raise, and how long we wait for it."""

from typing import Any

from huggingface_hub.errors import HfHubHTTPError

HUB_TIMEOUT_S = 10
# The second is the root exception of the HTTP library ("no route to the hub" is one of it); the hub's version decides
# which library that is.
HUB_ERRORS: tuple[Any, ...] = (OSError, HfHubHTTPError.__bases__[0])
