"""What is still to be mended in a cluster configuration before `ray up`, one line each.

    python -m deploy.check [cluster.yaml]

Looks at what `ray up` would find out late or not at all: values that are placeholders, files and keys that are not
there, names that AWS or ssh does not know. Changes nothing. Exit status 2 if there is something to mend.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from deploy import account, files, hosts, placeholders, ray_schema

NOTHING = "nothing to mend"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is to be mended; the exit status says whether there was anything."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", nargs="?", default="cluster.yaml", help="what `ray up` will be given (cluster.yaml)")
    path: str = parser.parse_args(arguments).config
    found = False
    for finding in findings(path):
        found = True
        sys.stdout.write(f"{finding}\n")
        sys.stdout.flush()  # the next may take seconds
    if not found:
        sys.stdout.write(f"{path}: {NOTHING}\n")
    return 2 if found else 0


def findings(path: str) -> Iterator[str]:
    """What is wrong with the configuration in a file, in the order in which `ray up` would meet it."""
    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        yield f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"
        return
    except yaml.YAMLError as error:
        yield f"{path}: is not YAML: {' '.join(str(error).split())}"
        return
    refused = ray_schema.refusal(config)
    if refused:  # nothing below knows what to make of other shapes
        yield f"{path}: Ray refuses it: {refused}"
        return
    yield from _of_accepted(config)


def _of_accepted(config: dict[str, Any]) -> Iterator[str]:
    yield from files.findings(config)
    match config["provider"]["type"]:
        case "aws":
            yield from placeholders.findings(config)
            yield from account.findings(config)
        case "local":
            yield from hosts.findings(config)
        case other:
            yield f"provider.type {other!r}: what such machines need is not checked; of 'aws' and 'local' it is"


if __name__ == "__main__":
    sys.exit(main())
