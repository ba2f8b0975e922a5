r"""Printing: tables for people, JSON for programs, progress on standard error. Data never controls the terminal.

On a terminal every control character, every C1 code and every character that changes the direction of text is shown
as an escape; in JSON as ``\\uXXXX``, so that it still is the same JSON.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

PROGRESS_SECONDS = 0.1  # between two drawings of the bar
BAR_CELLS = 24
FALLBACK_WIDTH = 100  # columns, where the terminal does not say
MIN_CELL = 6  # columns are not squeezed below this
_COLUMN_GAP = "  "

# C0, DEL and C1; marks and overrides of direction; separators that a terminal takes for a new line; tag characters.
_UNSAFE = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufff9-\\ufffb\\ufeff\\ud800-\\udfff\\U000e0000-\\U000e007f]"
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def safe(text: str) -> str:
    """Return text that changes nothing on a terminal but the cells it is printed in."""
    return _UNSAFE.sub(lambda match: _SHORT.get(match.group(), _escaped(match.group())), text)


def safe_json(text: str) -> str:
    """Return the same JSON with every character escaped that a terminal could act on."""
    return _UNSAFE.sub(lambda match: _escaped(match.group()), text)


def _escaped(char: str) -> str:
    number = ord(char)
    if number <= 0xFFFF:
        return f"\\u{number:04x}"
    number -= 0x10000
    return f"\\u{0xD800 + (number >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}"


def width_of(text: str) -> int:
    """Return how many cells a text takes."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def clipped(text: str, width: int) -> str:
    """Return the text in at most ``width`` cells, with … where something is left out."""
    if width_of(text) <= width:
        return text
    taken, used = [], 0
    for char in text:
        cells = width_of(char)
        if used + cells > width - 1:
            break
        taken.append(char)
        used += cells
    return "".join(taken) + "…"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None = None) -> list[str]:
    """Return the lines of a table. The widest columns give way until it fits into ``width`` cells (None: never)."""
    cells = [[safe(cell) for cell in row] for row in rows]
    widths = [
        max([width_of(heading), *(width_of(row[index]) for row in cells)])
        for index, heading in enumerate(headings)
    ]
    if width is not None:
        room = width - len(_COLUMN_GAP) * (len(widths) - 1)
        while sum(widths) > room and max(widths) > MIN_CELL:
            widest = widths.index(max(widths))
            others = max([size for index, size in enumerate(widths) if index != widest], default=MIN_CELL)
            widths[widest] = max(MIN_CELL, others - 1, widths[widest] - (sum(widths) - room))
    lines = []
    for row in (list(headings), *cells):
        parts = [clipped(cell, size) for cell, size in zip(row, widths, strict=True)]
        padded = [part + " " * (size - width_of(part)) for part, size in zip(parts, widths, strict=True)]
        lines.append(_COLUMN_GAP.join(padded).rstrip())
    return lines


def count(number: float) -> str:
    """Return a number as people read it: 1,234,567."""
    return f"{number:,.0f}"


def size(number: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(number) < 1000 or unit == "TB":
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError


@dataclass(slots=True)
class Output:
    """Where a command prints. ``as_json``: asked for with ``--json``."""

    as_json: bool
    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)

    @property
    def terminal(self) -> bool:
        """Whether a person sees what is printed."""
        return self.out.isatty()

    @property
    def machine(self) -> bool:
        """Whether data is printed as JSON: with ``--json``, and in a pipe or file. Reports need ``--json``."""
        return self.as_json or not self.terminal

    @property
    def width(self) -> int | None:
        """Columns of the terminal; None where lines may be as long as they like."""
        return shutil.get_terminal_size((FALLBACK_WIDTH, 24)).columns if self.terminal else None

    def line(self, text: str = "") -> None:
        """Print one line for people."""
        self.out.write(f"{text}\n")

    def json_text(self, text: str) -> None:
        """Print one line of finished JSON."""
        self.out.write(f"{safe_json(text) if self.terminal else text}\n")

    def object(self, value: Any) -> None:
        """Print one value as a line of JSON."""
        self.json_text(json.dumps(value, ensure_ascii=False, default=str))

    def rows(self, headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Print a table for people."""
        texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
        for text in table(headings, texts, width=self.width):
            self.line(text)

    def facts(self, values: Mapping[str, Any]) -> None:
        """Print names with their values, one a line, for people."""
        longest = max((len(name) for name in values), default=0)
        for name, value in values.items():
            self.line(f"{name:<{longest}}  {safe(str(value))}")

    def note(self, text: str) -> None:
        """Say something on standard error that is not part of the answer."""
        self.err.write(f"{safe(text)}\n")
        self.err.flush()

    def flush(self) -> None:
        """Hand everything to the reader."""
        self.out.flush()


class Progress:
    """A bar on standard error, drawn only if that is a terminal; at the end one line says what was done."""

    def __init__(self, label: str, total: int, *, stream: TextIO | None = None) -> None:
        self._label = label
        self._total = total
        self._stream = stream or sys.stderr
        self._drawn = self._stream.isatty()
        self._last = 0.0
        self._started = time.monotonic()

    def update(self, done: int | None, note: str = "") -> None:
        """Draw ``done`` of the total (None: nobody can tell), and a note behind it."""
        now = time.monotonic()
        if not self._drawn or now - self._last < PROGRESS_SECONDS:
            return
        self._last = now
        if done is None:
            self._draw(f"{self._label}  {note}")
            return
        share = min(1.0, done / self._total) if self._total else 1.0
        filled = round(share * BAR_CELLS)
        bar = "█" * filled + "░" * (BAR_CELLS - filled)
        left = ""
        if 0 < share < 1:
            left = f"  {_clock((now - self._started) * (1 - share) / share)} left"
        self._draw(f"{self._label} {bar} {share:4.0%}  {note}{left}")

    def _draw(self, line: str) -> None:
        columns = shutil.get_terminal_size((FALLBACK_WIDTH, 24)).columns
        text = clipped(safe(line), columns - 1)
        self._stream.write(f"\r\x1b[K{text}")
        self._stream.flush()

    def close(self) -> None:
        """Take the bar away."""
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def _clock(number: float) -> str:
    minutes, rest = divmod(round(number), 60)
    return f"{minutes}:{rest:02d}"


def quiet_pipe() -> None:
    """After the reader went away: keep the interpreter from complaining about it when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
