"""The errors a user can cause: each message is one sentence that says what is wrong and what to do."""

import difflib
import os
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

#: Folders of code that is not the user's, beside this package: the standard library, and whatever was installed.
_STANDARD, _INSTALLED = Path(os.__file__).parent, {"site-packages", "dist-packages"}


#: What people call things that have another name here.
_ALIASES = {"gpu": "cuda"}


def closest(name: str, known: Sequence[str]) -> str:
    """Returns the known name that is probably meant; ``""`` if none is close."""
    alias = _ALIASES.get(name.lower(), "")
    return alias if alias in known else next(iter(difflib.get_close_matches(name, known, n=1)), "")


def hint(name: str, known: Sequence[str]) -> str:
    """Returns the end of a sentence about a name that does not exist: the closest of the known ones, or all."""
    if close := closest(name, known):
        return f"did you mean {close!r}?"
    return f"choose {'one of ' if len(known) > 1 else ''}{', '.join(known)}."


def grey_levels(what: str, value: float) -> str:
    """Returns the sentence about a number that was probably meant in grey levels from 0 to 255."""
    return f"{what} in pixel units of [0, 1], so {value:g} is too large: did you mean {value:g}/255?"


def is_installed(file: Path) -> bool:
    """Returns whether a file belongs to the standard library or an installed package, and not to code of a user."""
    return _STANDARD in file.parents or bool(_INSTALLED & {*file.parts})


def own_line(error: BaseException) -> str | None:
    """Returns file and line of the innermost code of the user's own that an error came through, if there is any."""
    for frame, line in reversed([*traceback.walk_tb(error.__traceback__)]):
        file = Path(frame.f_code.co_filename)
        ours = (frame.f_globals.get("__package__") or "").partition(".")[0] == __package__
        if not (ours or is_installed(file) or str(file).startswith("<")):
            return f"{file}, line {line}"
    return None


def error_words(error: BaseException) -> str:
    """Returns kind, message and, in the user's own code, file and line of an error."""
    message = " ".join(str(error).split()).rstrip(".")
    words = f"{type(error).__name__}: {message}" if message else type(error).__name__
    line = own_line(error)
    return f"{words} ({line})" if line else words


def foreign_words(error: BaseException, option: str) -> str | None:
    """Returns the sentence about an error that came through the user's own code, ``None`` if it came through none.

    Args:
        error: It.
        option: The option that shows how the error was reached.
    """
    if not own_line(error):
        return None
    return f"Code outside of robustcsc failed: {error_words(error)}; {option} shows how it was reached."


def defect_words(error: BaseException, command: str, option: str) -> str:
    """Returns the sentence about an error that nobody foresaw.

    Args:
        error: It.
        command: What was running.
        option: The option that shows how the error was reached.
    """
    frames = [*traceback.extract_tb(error.__traceback__)][-1:]
    place = "".join(f" ({Path(it.filename).name}, line {it.lineno})" for it in frames)
    return (
        f"{command} failed with {error_words(error)}{place}, a fault of robustcsc or of a package it uses and not of "
        f"what you typed: please report it with what {option} shows."
    )


class RobustCSCError(Exception):
    """A user can put this right; the command line prints the message and exits with code 2."""


class UnknownNameError(RobustCSCError):
    """A model, data set, corruption or other named thing does not exist."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        super().__init__(f"Unknown {kind} {name!r}: {hint(name, sorted(known))}")


class DataError(RobustCSCError):
    """Images or labels are missing, unreadable or not of the form that was asked for."""


class SpecError(RobustCSCError):
    """A corruption specification is not valid."""


class ExperimentError(RobustCSCError):
    """An experiment file is not valid."""


class CheckpointError(RobustCSCError):
    """Weights cannot be loaded into the model that was asked for."""


class ModelError(RobustCSCError):
    """A model fails, or does not return one finite logit per class."""


class StoreError(RobustCSCError):
    """Results or run folders cannot be read or written."""


class PolicyError(RobustCSCError):
    """A lambda policy or fit cannot be used with this model or run."""


class AttackError(RobustCSCError):
    """An attack was asked for with images, labels or budgets that make no sense."""


class EngineError(RobustCSCError):
    """Workers cannot be started or reached, or died of what they measured."""
