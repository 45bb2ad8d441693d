"""What Ray itself says of a cluster configuration."""

import contextlib
import io
import logging
from typing import Any

import click
import jsonschema
from ray.autoscaler._private.util import prepare_config, validate_config


def refusal(config: object) -> str | None:
    """Why Ray would not take the configuration, on one line; None if it would."""
    if not isinstance(config, dict):
        return f"a mapping is wanted, and this is {type(config).__name__}"
    if not isinstance(config.get("provider"), dict) or "type" not in config["provider"]:
        return f"provider: {config.get('provider')!r}: must be a mapping with a type, such as {{type: aws}}"
    try:
        validate_config(prepared(config))
    except jsonschema.ValidationError as error:
        return f"{'.'.join(map(str, error.absolute_path)) or 'at the top'}: {error.message.splitlines()[0]}"
    except (click.ClickException, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError) as error:
        return " ".join(str(error).split()) or type(error).__name__
    return None


def prepared(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with Ray's defaults, and without what Ray would print on the way."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            completed: dict[str, Any] = prepare_config(config)
    finally:
        logging.disable(before)
    return completed
