"""`robustcsc run`: what a file may say is what the commands take, with the same defaults."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from robustcsc.experiments import steps
from robustcsc.experiments.reading import example_text
from tests.cli.conftest import all_commands

Command = Callable[..., Any]

#: Keys of a table that are no options of its command.
OWN_KEYS = {"runs"}
TABLES: dict[str, tuple[type[msgspec.Struct], set[str]]] = {
    "train": (steps.Train, {"seeds", "model"}),  # the command's model is an argument, and a run needs a name
    "fit-lambda": (steps.Fit, OWN_KEYS),
    "evaluate": (steps.Evaluate, OWN_KEYS),
    "sweep": (steps.Sweep, OWN_KEYS),
    "attack": (steps.Attack, OWN_KEYS),
    "uap": (steps.Uap, OWN_KEYS),
    "random-noise": (steps.RandomNoise, OWN_KEYS),
    "report": (steps.Report, set()),
}


def options_of(command: str) -> dict[str, Any]:
    """Returns the defaults of a command's options, by name without dashes."""
    return {it.opts[0].removeprefix("--"): it.default for it in all_commands().commands[command].params}


def words(value: Any) -> tuple[str, ...]:
    """Returns a default as words: lists are typed with commas, and what is not given is nothing."""
    if value is None or value == {}:
        return ()
    if isinstance(value, tuple | list):
        return tuple(map(str, value))
    return tuple(str(value).split(",")) if str(value) else ()


@pytest.mark.parametrize("command", TABLES)
def test_a_table_takes_options_of_its_command_with_their_defaults(command: str) -> None:
    kind, own = TABLES[command]
    taken, options = {it.encode_name: it for it in msgspec.structs.fields(kind)}, options_of(command)
    assert set(taken) - own <= set(options)
    for key in set(taken) - own:
        it = taken[key]
        default = it.default_factory() if it.default is msgspec.NODEFAULT and not it.required else it.default
        if not it.required:
            assert words(default) == words(options[key]), key


def test_the_tables_data_and_model_take_the_options_that_say_which() -> None:
    options = options_of("sweep")
    data = {it.encode_name: it for it in msgspec.structs.fields(steps.Data)}
    model = {it.encode_name for it in msgspec.structs.fields(steps.Model)}
    assert model <= set(options)
    assert {"data" if key == "name" else key for key in data} <= set(options)
    assert all(words(it.default) == words(options[key]) for key, it in data.items() if key != "name")


def test_the_example_is_printed_as_it_is(robustcsc: Command) -> None:
    assert robustcsc("run --example").out == example_text()


MINE = """\
[[model]]
run = "sdnet-digits"

[evaluate]
lambda = ["train", "fixed=0.2"]
"""


def test_a_dry_run_shows_what_is_to_be_done_and_writes_nothing(
    robustcsc: Command, place: Path, contents: Callable[[], dict[str, bytes | None]]
) -> None:
    Path("mine.toml").write_text(MINE)
    before = contents()
    shown = robustcsc("run mine.toml --dry-run")
    assert shown.code == 0
    assert [line.split() for line in shown.out.splitlines() if "sdnet-digits" in line] == [
        ["evaluate", "sdnet-digits", "2", "0"]
    ]
    assert json.loads(robustcsc("run mine.toml --dry-run --json").out) == [
        {"step": "evaluate", "run": "sdnet-digits", "missing": 2, "stored": 0, "passes": 1000}
    ]
    assert contents() == before
    done = json.loads(robustcsc("run mine.toml --json").out)
    assert done["page"] is None
    assert [(row["kind"], row["policy"], row["total"]) for row in done["records"]] == [
        ("clean", "train", 500),
        ("clean", "fixed", 500),
    ]
    assert json.loads(robustcsc("run mine.toml --dry-run --json").out)[0]["stored"] == 2
