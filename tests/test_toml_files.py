"""Lines of values: what stands there is known, as the file is written here."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from robustcsc.errors import RobustCSCError
from robustcsc.experiments.reading import example_text
from robustcsc.toml_files import Place, TomlFile

TEXT = '''\
# a comment = 1
device = "cpu"  # device = 2

[data]
name = """
a = 1
[sweep]
"""
size.of = {image = 3, more = [
  1,
  2]}

[[attack]]
# norm = "l1"
norm = "l2"
epsilon = [
  "1/255",  # a comment ]
  "2/255",
]

[[attack]]

"norm" = "linf"
lambdas = [[1,
            2]]
[report]
'''


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("device",), 2),
        (("data",), 4),
        (("data", "name"), 5),
        (("data", "size", "of", "more"), 9),
        (("attack", 0), 13),
        (("attack", 0, "norm"), 15),
        (("attack", 0, "epsilon", 1), 16),
        (("attack", 1), 21),
        (("attack", 1, "norm"), 23),
        (("attack", 1, "lambdas", 0, 1), 24),
        (("report",), 26),
        (("report", 0), 26),
        (("attack", 1, "missing"), 21),  # of what is missing, the line of its table
        (("sweep",), 1),
    ],
)
def test_a_value_is_on_the_line_where_it_is_written(place: Place, line: int) -> None:
    assert TomlFile(Path("x.toml"), TEXT, RobustCSCError).line(place) == line


def keys(value: Any, place: Place = ()) -> list[Place]:
    """Returns the places of all keys."""
    if isinstance(value, list):
        return [
            it for number, each in enumerate(value) if isinstance(each, dict) for it in keys(each, (*place, number))
        ]
    below = [(key, it) for key, it in value.items() if isinstance(it, dict | list)]
    return [(*place, key) for key in value] + [it for key, each in below for it in keys(each, (*place, key))]


def test_lines_of_the_example_hold_the_keys() -> None:
    source = TomlFile(Path("x.toml"), example_text(), RobustCSCError)
    lines = source.text.splitlines()
    places = [it for it in keys(tomllib.loads(source.text)) if len(it) > 1]
    assert len(places) > 15
    for place in places:
        assert lines[source.line(place) - 1].startswith(f"{place[-1]} = "), place


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (("device",), "device"),
        (("sweep", 0, "lambda", 1), "lambda of [sweep]"),
        (("attack", 1), "[attack] number 2"),
        (("train", 0, "model-option", "atoms"), "model-option.atoms of [train]"),
    ],
)
def test_an_error_names_file_line_and_field(place: Place, words: str) -> None:
    error = TomlFile(Path("mine.toml"), TEXT, RobustCSCError).error(place, "is wrong.")
    assert str(error) == f"mine.toml, line {TomlFile(Path('x'), TEXT, RobustCSCError).line(place)}, {words}: is wrong."
