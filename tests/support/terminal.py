"""What a person sees of a program that runs on a terminal, and the terminal it runs on."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence

SEQUENCE = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])")


class Screen:
    """Lines as they stand in the end, those that have scrolled away too. Knows what is used here, and nothing else."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.rows = [""]
        self.row = self.column = 0
        self.cursor_shown = True
        self.widest = 0

    def feed(self, text: str) -> "Screen":
        """Write, move and erase as a terminal does. Raises ValueError for what it does not know."""
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                found = SEQUENCE.match(text, at)
                if not found:
                    raise ValueError(repr(text[at : at + 12]))
                self._obey(*found.groups())
                at = found.end()
            else:
                self._write(text[at])
                at += 1
        return self

    @staticmethod
    def plain(written: str) -> str:
        """All that was ever written, without colours and movements."""
        return SEQUENCE.sub("", written)

    @property
    def lines(self) -> list[str]:
        return [row.rstrip() for row in self.rows]

    def _write(self, letter: str) -> None:
        if letter == "\r":
            self.column = 0
        elif letter == "\n":
            self._down()
        else:
            if self.column == self.width:
                self._down()
                self.column = 0
            row = self.rows[self.row].ljust(self.column)
            self.rows[self.row] = row[: self.column] + letter + row[self.column + 1 :]
            self.column += 1
            self.widest = max(self.widest, self.column)

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append("")

    def _obey(self, private: str, number: str, what: str) -> None:
        if what == "m":
            return
        if private and number == "25":
            self.cursor_shown = what == "h"
        elif what == "A":
            self.row -= int(number or 1)
        elif what == "K" and number == "2":
            self.rows[self.row] = ""
        else:
            raise ValueError(f"{private}{number}{what}")


def on_a_terminal(
    command: Sequence[str], width: int, height: int = 24, environment: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """Run a program whose standard error is a terminal of that size; returns status, standard output, and the rest."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    clean = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=theirs, env=clean | {"TERM": "xterm"} | dict(environment or {})
    ) as process:
        os.close(theirs)
        parts = []
        try:
            while part := os.read(ours, 1 << 16):
                parts.append(part)
        except OSError:  # the last that held the other end has let go of it
            pass
        assert process.stdout is not None
        said = process.stdout.read().decode()
    os.close(ours)
    return process.returncode, said, b"".join(parts).decode()
