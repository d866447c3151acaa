"""Where text goes: results to standard output, progress and notes to standard error."""

import codecs
import json
import math
import numbers
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, is_dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import typer

from robustcsc.cli.signals import is_first_process
from robustcsc.errors import RobustCSCError
from robustcsc.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

#: Columns of a table that is written to a file or a pipe.
PIPE_WIDTH = 120
#: Whether tables are printed as tab-separated values; `main` sets it for one command.
TSV: ContextVar[bool] = ContextVar("TSV", default=False)
#: A word; from a path, which may have blanks, up to the next mark, as nothing else says where it ends.
_UNBROKEN = re.compile(r"(?![\d/]+(?:\s|$))\S*[\w.~(']?/\S.*?(?:[.,:;)'](?=\s|$)|$)|\S+")
#: Seconds between two lines of progress where no bar can be drawn.
LINE_INTERVAL = 30.0


#: Descriptor of standard error, after those of input and output.
_LAST_STREAM = 2
_SPELT = "robustcsc.spelt"
_SPELLINGS = {"∞": "inf", "±": "+-", "…": "...", "≤": "<=", "≥": ">=", "λ": "lambda"}


def _spelt(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_SPELLINGS.get(sign, "?") for sign in lacking), error.end


def allow_any_terminal() -> None:
    """Makes output spell signs that the terminal's encoding lacks (L∞ as Linf), or print ``?``, instead of failing.

    A stream that was closed leads nowhere, and no file that is opened later takes its place.
    """
    while (nowhere := os.open(os.devnull, os.O_RDWR)) <= _LAST_STREAM:
        pass
    os.close(nowhere)
    sys.stdout, sys.stderr = (it or open(os.devnull, "w") for it in (sys.stdout, sys.stderr))  # noqa: SIM115
    codecs.register_error(_SPELT, _spelt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors=_SPELT)


def results_width() -> int:
    """Returns how many columns a table may take: those of the terminal, or of the environment's `COLUMNS`, or 120."""
    return _width(sys.stdout) if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH


def _width(terminal: TextIO) -> int:
    """Returns the environment's `COLUMNS`, or those of the terminal, or 80."""
    told = os.environ.get("COLUMNS", "")
    if told.isdecimal() and int(told):
        return int(told)
    try:
        return os.get_terminal_size(terminal.fileno()).columns or 80
    except (OSError, ValueError):  # no terminal, though it says so
        return 80


def print_line(text: str) -> None:
    """Prints text on standard output."""
    sys.stdout.write(f"{text}\n")


def print_title(text: str) -> None:
    """Prints the title of a table on standard output, in bold on a terminal that can."""
    if not sys.stdout.isatty():
        print_line(text)
        return
    from rich.console import Console  # where no terminal is, it would be a third of a short command

    Console(markup=False, emoji=False, highlight=False).print(text, style="bold", soft_wrap=True)


def note(sentence: str) -> None:
    """Prints what is not a result on standard error, on a terminal in lines that fit; a path is never broken.

    Elsewhere a sentence stays on one line, so that programs find it whole. Where it cannot be written it is left out,
    as results come first.
    """
    with suppress(OSError):
        _write_note(sentence)


def _write_note(sentence: str) -> None:
    if not sys.stderr.isatty():
        sys.stderr.write(f"{sentence}\n")
        return
    from robustcsc.presentation.terminal import broken

    width = _width(sys.stderr)
    for line in sentence.split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        for part in broken(_UNBROKEN.findall(line), width - len(indent)):
            # not typer.echo, which takes an ASCII terminal for one of UTF-8
            sys.stderr.write(f"{indent}{part}".rstrip() + "\n")


def print_json(value: object) -> None:
    """Prints a value as JSON on standard output.

    Args:
        value: Dataclasses, mappings, sequences, numbers (of NumPy too), strings and paths, nested at will.
            Numbers that JSON cannot write (NaN, infinities) become `null`.

    Raises:
        TypeError: The value holds something else.
    """
    typer.echo(json.dumps(_plain(value), indent=2, allow_nan=False))


def _plain(value: object) -> object:
    """Returns the value in the types that `json` writes."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


@contextmanager
def told_once() -> Iterator[None]:
    """Leaves errors to the first of the processes that train together, as what was typed is the same for all."""
    try:
        yield
    except RobustCSCError as error:
        if is_first_process():
            raise
        raise typer.Exit(2) from error


@contextmanager
def progress_display() -> Iterator[Progress]:
    """Shows progress on standard error while the block runs.

    On a terminal there is one bar for the whole, which goes when the block ends. Elsewhere, and with `NO_COLOR` or
    `TERM=dumb`, there is one line every 30 seconds, so short commands stay silent.

    Yields:
        The callable to hand to the library.
    """
    if not _draws_bars(sys.stderr.isatty(), os.environ):
        yield ProgressLines()
        return
    from rich import progress as rich_progress  # only here: most commands never draw a bar
    from rich.console import Console

    columns = (
        rich_progress.BarColumn(20),
        rich_progress.TaskProgressColumn(),
        rich_progress.TextColumn("{task.description}", markup=False),
    )
    console = Console(stderr=True)
    with rich_progress.Progress(*columns, console=console, transient=True, redirect_stdout=False) as bars:
        yield ProgressBar(bars)


def _draws_bars(is_terminal: bool, environment: Mapping[str, str]) -> bool:
    """Tells whether standard error can show bars that redraw themselves."""
    return is_terminal and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


class Pace:
    """How much of the whole is done, and how long the rest will take at the mean pace so far."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began, self._first, self.share = 0.0, 0.0, 1.0

    def words(self, done: float, total: float) -> str:
        """Returns the time that is left, in words; ``""`` as long as nothing is known of it.

        The share never goes back, as work on a part may begin anew, unless other work begins after all was done.
        """
        share, now = done / total, self._clock()
        if self.share >= 1 > share:
            self._began, self._first, self.share = now, share, share
        self.share = max(self.share, share)
        if self.share <= self._first:
            return ""
        from robustcsc.presentation.words import duration_words

        return f"{duration_words((now - self._began) * (1 - self.share) / (self.share - self._first))} left"


class ProgressBar:
    """Progress as one bar for the whole, with what is being done and the time that is left."""

    def __init__(self, bars: "Bars", pace: Pace | None = None) -> None:
        self._bars, self._pace = bars, pace or Pace()
        self._task: TaskID | None = None

    def __call__(self, description: str, done: float, total: float) -> None:
        """Draws the state of the whole."""
        left = self._pace.words(done, total)
        if self._task is None:
            self._task = self._bars.add_task("", total=1.0)
        words = ", ".join(filter(None, (left, description)))
        self._bars.update(self._task, completed=self._pace.share, description=words)


class ProgressLines:
    """Progress as a line now and then, for log files."""

    def __init__(self, interval: float = LINE_INTERVAL, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = interval
        self._clock = clock
        self._last, self._pace = clock(), Pace(clock)

    def __call__(self, description: str, done: float, total: float) -> None:
        """Prints the state of the whole unless the last line is recent."""
        left = self._pace.words(done, total)
        now = self._clock()
        if now - self._last >= self._interval:
            self._last = now
            note(", ".join(filter(None, (f"{100 * self._pace.share:.0f} %", left, description))))
