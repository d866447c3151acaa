"""Table of contents of the `robustcsc` command line, and the one place where errors become sentences.

A command is a line of `COMMANDS`, and a module that is imported once the command is typed; that module imports torch,
pandas and the like inside its functions only, so that help, mistakes and lists cost no more than they need.
"""

import errno
import os
import re
import sys
import traceback
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from itertools import pairwise
from typing import Annotated, Any

import typer

from robustcsc import __version__
from robustcsc.allocator import keep_freed_memory
from robustcsc.cli.console import TSV, allow_any_terminal, note
from robustcsc.cli.signals import is_first_process, stoppable
from robustcsc.cli.usage import Commands, UsageError, bounded, usage_words
from robustcsc.errors import RobustCSCError, defect_words, foreign_words

DEBUG, TSV_TABLES, JSON = "--debug", "--tsv", "--json"
USER_ERROR, DEFECT = 2, 70  # as sysexits.h has it
INTERRUPTED = 130

#: What to tell about an operating-system error that the user can put right.
_SYSTEM_ERRORS = {
    errno.ENOSPC: "No space is left on the disk{place}: free some, then rerun the command to resume it.",
    errno.EDQUOT: "Your disk quota is used up{place}: free some space, then rerun the command to resume it.",
    errno.EFBIG: "A file is larger than is allowed here{place}: raise the limit, or run the command in another folder.",
    errno.EROFS: "The file system is read-only{place}: run the command in a folder you can write to.",
    errno.EIO: "The disk cannot be read or written{place}: check it, then rerun the command to resume it.",
    errno.EACCES: "Permission is missing{place}: change it, or run the command in a folder you can write to.",
    errno.ENAMETOOLONG: "The name of a file or folder is too long{place}: choose a shorter one.",
}
#: What errors of libraries say where memory is lacking: of PyTorch, of the loader of shared libraries, of threads.
_NO_MEMORY = ("can't allocate memory", "Cannot allocate memory", "failed to map segment", "can't start new thread")

_START, _MEASURE, _LOOK = "Start here", "Measure", "What there is"

#: Each command: its panel of the help, and its function, or group of commands, in `robustcsc.cli.commands`.
COMMANDS = {
    "quickstart": (_START, "quickstart.quickstart"),
    "train": (_MEASURE, "train.train"),
    "evaluate": (_MEASURE, "evaluate.evaluate"),
    "sweep": (_MEASURE, "evaluate.sweep"),
    "fit-lambda": (_MEASURE, "fit_lambda.fit_lambda"),
    "attack": (_MEASURE, "attack.attack"),
    "uap": (_MEASURE, "uap.uap"),
    "random-noise": (_MEASURE, "uap.random_noise"),
    "report": (_MEASURE, "report.report"),
    "compare": (_MEASURE, "compare.compare"),
    "merge": (_MEASURE, "merge.merge"),
    "run": (_MEASURE, "run.run"),
    "leaderboard": (_MEASURE, "leaderboard.leaderboard"),
    "inspect": (_LOOK, "inspect.app"),
    "models": (_LOOK, "models.models"),
    "corruptions": (_LOOK, "corruptions.corruptions"),
    "data": (_LOOK, "data.app"),
    "doctor": (_LOOK, "doctor.doctor"),
}


class _Commands(Mapping[str, Any]):
    """The commands by name; each is imported and built when it is first looked up."""

    def __init__(self) -> None:
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            panel, place = COMMANDS[name]
            module, _, function = place.partition(".")
            found = getattr(import_module(f"robustcsc.cli.commands.{module}"), function)
            if not isinstance(found, typer.Typer):
                found, alone = typer.Typer(add_completion=False), found
                found.command()(alone)
            command: Any = bounded(typer.main.get_command(found))
            command.name, command.rich_help_panel = name, panel
            self._built[name] = command
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class _Program(Commands):  # type: ignore[misc]  # mypy sees no type of robustcsc.cli
    """The commands of this program."""

    commands: Any

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = ChainMap(self.commands, _Commands())  # type: ignore[arg-type]  # which is not written to


app = typer.Typer(
    cls=_Program,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: robustcsc quickstart. Results go to standard output, notes and progress to standard error.",
)


def _print_version(asked: bool) -> None:
    """Prints the version and ends the program when `--version` was given."""
    if asked:
        typer.echo(f"robustcsc {__version__}")
        raise typer.Exit


@app.callback()
def _about(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Show the traceback behind the sentence of an error; anywhere in a command.")
    ] = False,
    tsv: Annotated[
        bool, typer.Option(TSV_TABLES, help="Print tables as tab-separated plain numbers; anywhere in a command.")
    ] = False,
) -> None:
    """Measure how robust image classifiers built on sparse coding are, and report what was counted."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: Words after the program's name; the words the program was started with if `None`. `--debug` and
            `--tsv` may stand anywhere.

    Returns:
        The exit code: 0; 2 for what the user can put right, 70 for a defect of this program (one sentence on standard
        error); 130 after Ctrl-C, 143 after SIGTERM; 1 when whoever reads the output stops reading.
    """
    if arguments is None:  # this process is the program's own
        keep_freed_memory()
    allow_any_terminal()
    typed = [*(sys.argv[1:] if arguments is None else arguments)]
    with stoppable() as stop:
        try:
            code: int = _run(typed)
            sys.stdout.flush()
            return code
        except BrokenPipeError:
            _close_output()
            return 1
        except (Exception, KeyboardInterrupt) as error:
            _close_output()
            if stop.number or isinstance(error, KeyboardInterrupt):
                if is_first_process():
                    note(stop.sentence)
                code = stop.code
                return code
            if DEBUG in typed:
                traceback.print_exception(error)
            sentence = _sentence(error)
            note(f"Error: {sentence or defect_words(error, _command(typed), DEBUG)}")
            return USER_ERROR if sentence else DEFECT


def _sentence(error: Exception) -> str | None:
    """Returns what a user is told about an error; ``None`` for a defect of this program."""
    if isinstance(error, RobustCSCError):
        return str(error)
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported here
        return "The GPU has too little memory: choose a smaller --batch-size, or --device cpu."
    if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY):
        return (
            "There is too little memory: raise its limit, end other programs, or choose a smaller --batch-size; what "
            "was finished is kept."
        )
    if isinstance(error, OSError) and error.errno in _SYSTEM_ERRORS:
        return _SYSTEM_ERRORS[error.errno].format(place=f" ({error.filename})" if error.filename else "")
    return foreign_words(error, DEBUG)


def _command(typed: Sequence[str]) -> str:
    """Returns the command among the words that were typed, with the name of the program."""
    return " ".join(["robustcsc", *[word for word in typed if word in COMMANDS][:1]])


def _run(typed: Sequence[str]) -> int:
    """Returns the exit code of the command that was typed.

    Raises:
        RobustCSCError: Tables are to be printed in two ways, there is no such command, option or value, or a word is
            empty or no text.
    """
    for before, word in pairwise(["", *typed]):
        if any("\ud800" <= sign <= "\udfff" for sign in word):
            raise RobustCSCError(f"{word!r} is not text in UTF-8: choose another name or text.")
        option = before if not word else word.removesuffix("=") if re.fullmatch("--[a-z-]+=", word) else None
        if option is not None:  # which would mean that it was not given
            raise RobustCSCError(f"{option or 'An argument'} is empty: write a value, or leave it out.")
    if {TSV_TABLES, JSON} <= {*typed}:
        raise RobustCSCError(f"{TSV_TABLES} and {JSON} exclude each other: choose one.")
    TSV.set(TSV_TABLES in typed)
    words = [word for word in typed if word not in (DEBUG, TSV_TABLES)]
    try:
        code = app(args=words, prog_name="robustcsc", standalone_mode=False)
    except UsageError as error:
        if sentence := usage_words(error):
            raise RobustCSCError(sentence) from error
        return USER_ERROR
    except SystemExit as stop:
        if not isinstance(stop.code, int):
            raise
        return stop.code
    if code == INTERRUPTED:  # typer turns Ctrl-C into this code
        raise KeyboardInterrupt
    return code or 0


def _close_output() -> None:
    """Writes what standard output still holds, or drops it, as Python would fail on it once more at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
