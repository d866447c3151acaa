"""Limits that keep the code readable: lengths of files and signatures, entries of a folder."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST_LINES, MOST_PARAMETERS, MOST_ENTRIES = 320, 8, 9


def sources(*folders: str) -> Iterator[Path]:
    """Yields the modules below some folders of the repository."""
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def long_signatures(source: str) -> list[str]:
    """Returns the functions of more than `MOST_PARAMETERS` parameters without a reason in a comment right above."""
    lines = source.splitlines()
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        its = node.args
        names = [it.arg for it in (*its.posonlyargs, *its.args, *its.kwonlyargs) if it.arg not in ("self", "cls")]
        first = min([node.lineno, *(it.lineno for it in node.decorator_list)])
        if len(names) > MOST_PARAMETERS and not lines[first - 2].lstrip().startswith("#"):
            found.append(f"{node.name} has {len(names)} parameters")
    return found


def test_no_file_is_long() -> None:
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in sources("robustcsc", "cli")}
    assert len(lengths) > 100
    assert {str(path.relative_to(ROOT)): length for path, length in lengths.items() if length > MOST_LINES} == {}


def test_a_long_signature_gives_its_reason() -> None:
    found = {str(path.relative_to(ROOT)): long_signatures(path.read_text("utf-8")) for path in sources("robustcsc")}
    assert {path: names for path, names in found.items() if names} == {}


def test_checker_finds_a_planted_signature() -> None:
    nine = "def f(a, b, c, d, e, *, f, g, h, i): ...\n"
    assert long_signatures(f"\n{nine}") == ["f has 9 parameters"]
    assert long_signatures(f"# Each is a choice of its own.\n{nine}") == []
    assert long_signatures("\ndef f(self, a, b, c, d, e, f, g, h): ...\n") == []


def test_reports_have_few_rooms() -> None:
    entries = [it.name for it in (ROOT / "robustcsc" / "reports").iterdir() if it.name != "__pycache__"]
    assert len(entries) <= MOST_ENTRIES, entries
