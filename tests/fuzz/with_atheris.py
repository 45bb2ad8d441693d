"""The same readers under libFuzzer, which looks for bytes that lead into code not yet seen.

Not a test: `python -m tests.fuzz.with_atheris NAME -max_total_time=60`, with a key of `tests.fuzz.readers.READERS` and
libFuzzer's own options. It ends with a traceback at the first exception that no reader may raise. Needs `atheris`,
which is in no lock; without it nothing is done.
"""

import logging
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from tests.fuzz.limits import little_memory
from tests.fuzz.mutations import mutated


def fuzz(atheris: ModuleType, name: str, options: list[str]) -> None:
    """Run until libFuzzer's options end it, or an exception does."""
    with atheris.instrument_imports(include=["models", "orchestrator"]):
        from tests.fuzz.readers import READERS
    logging.disable()
    reader = READERS[name]
    files = reader.files()

    def once(data: bytes) -> None:
        drawn = atheris.FuzzedDataProvider(data)
        victim = sorted(files)[drawn.ConsumeIntInRange(0, len(files) - 1)]
        with tempfile.TemporaryDirectory() as made:
            inside = Path(made, "inside")
            for path, content in files.items():
                (inside / path).parent.mkdir(parents=True, exist_ok=True)
                changed = mutated(path, content, drawn.ConsumeIntInRange) if path == victim else content
                (inside / path).write_bytes(changed)
            try:
                with little_memory():
                    reader.read(inside)
            except reader.errors:
                return

    atheris.Setup([sys.argv[0], *options], once)
    atheris.Fuzz()


if __name__ == "__main__":
    try:
        import atheris
    except ModuleNotFoundError:
        sys.stdout.write("atheris is not installed; nothing is tried\n")
    else:
        fuzz(atheris, sys.argv[1], ["-timeout=30", "-max_len=512", "-len_control=0", *sys.argv[2:]])
