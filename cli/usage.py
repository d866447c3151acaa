"""What was typed wrong, told in one sentence as other mistakes are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup

from robustcsc.errors import UnknownNameError, closest, hint

#: What the parser raises at words it does not understand; typer has no name of its own for it.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]


class Commands(TyperGroup):
    """A group of commands that tells a mistyped one."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Returns the command that was typed.

        Raises:
            UnknownNameError: There is no such command.
        """
        if args[0] not in self.commands:
            raise UnknownNameError(f"command of {ctx.command_path}", args[0], self.commands)
        return super().resolve_command(ctx, args)


#: Whole numbers up to here are taken by whatever computes with them.
MOST = 2**31 - 1


def bounded(command: Any) -> Any:
    """Returns a command, or group of commands, whose options for whole numbers take none above `MOST`."""
    for inner in getattr(command, "commands", {}).values():
        bounded(inner)
    for option in command.params:
        kind = getattr(option, "type_descriptor", None)
        if kind is not None and kind.annotation in (int, int | None) and kind.parameter_info.max is None:
            kind.parameter_info.max = MOST
    return command


def usage_words(error: Any) -> str:
    """Returns the sentence about a `UsageError`; ``""`` if the help was printed, as nothing was typed."""
    context, parameter = error.ctx, getattr(error, "param", None)
    if hasattr(error, "possibilities"):
        return _unknown_option(error.option_name, context)
    if parameter is not None:
        refused = getattr(error.__cause__, "errors", None)
        kind = getattr(parameter, "type_descriptor", None)
        if refused is not None and kind is not None:
            return _refused(parameter, kind, refused()[0]["input"])
        if not error.message:  # it is missing
            name = parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar
            return f"{context.command_path} needs {name or parameter.name.upper()}: {parameter.help}"
    # The parser has the words in its message only.
    if context is not None and (extra := re.fullmatch(r"Got unexpected extra argument\S* \((.*)\)", error.message)):
        meant = "did you mean --run {}?" if "--run" in _options(context.command) else "leave it out."
        return f"{context.command_path} does not take {extra[1]!r}: {meant.format(extra[1])}"
    return str(error.format_message())


def _unknown_option(name: str, context: Any) -> str:
    """Returns the sentence about an option that does not exist."""
    command, path = context.command, context.command_path
    told = f"Unknown option {name!r} of {path}: "
    if any(name in _options(it) for it in getattr(command, "commands", {}).values()):
        return f"{told}write it behind the command."
    others = getattr(context.find_root().command, "commands", {})
    if having := [other for other, it in others.items() if name in _options(it)]:
        return f"{told}it is one of {', '.join(having)}."
    if close := closest(name, [*_options(command)]):
        return f"{told}did you mean {close!r}?"
    return f"{told}`{path} --help` shows what there is."


def _options(command: Any) -> Iterator[str]:
    """Yields the options of a command."""
    for parameter in command.params:
        if parameter.param_type_name == "option":
            yield from (*parameter.opts, *parameter.secondary_opts)
    yield "--help"


def _refused(option: Any, kind: Any, typed: object) -> str:
    """Returns the sentence about a value that an option does not take."""
    name = option.opts[0]
    if kind.choices:
        return f"Unknown word {typed!r} of {name}: {hint(str(typed), [*map(str, kind.choices)])}"
    most = kind.parameter_info.max
    bounds = {"at least": kind.parameter_info.min, "at most": most if most != MOST or len(str(typed)) > 9 else None}
    told = " and ".join(f"{words} {bound}" for words, bound in bounds.items() if bound is not None)
    whole = "a whole number" if "int" in str(kind.annotation) else "a number"
    return f"{name} needs {whole}{told and f' of {told}'}, not {typed!r}."
