"""Imports go one way: a module may import from modules on an earlier line of `LINES` only."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LINES = (
    {"errors", "progress", "allocator", "corruption_specs"},
    {"files", "locks", "roots", "toml_files"},
    {"measurements"},
    {"layers"},
    {"data"},
    {"corruptions"},
    {"models"},
    {"runs"},
    {"adaptive"},
    {"attacks"},
    {"training"},
    {"evaluation"},
    {"presentation"},
    {"reports"},
    {"inspection"},
    {"session"},
    {"experiments"},
    {"cli"},
)
LINE_OF = {part: number for number, parts in enumerate(LINES) for part in parts}

#: Lines on which a package may not build, though they are earlier: tables and charts know nothing of what they show.
STRANGERS = {"presentation": {"measurements", "layers", "data", "models", "adaptive", "attacks", "evaluation"}}

#: Modules of robustcsc.models that know every family ("" is the package), and those that every family may
#: use. Each other module there is one family.
MODELS_ABOVE_FAMILIES = {"", "catalog", "checkpoint"}
MODELS_BELOW_FAMILIES = {"builder", "convert", "guests", "layouts", "shipped"}

#: Everything a command module may load before it runs, beside the standard library.
LIGHT = ("robustcsc", "robustcsc.allocator", "robustcsc.errors", "robustcsc.files", "robustcsc.progress")
HEAVY = (
    "torch",
    "torchvision",
    "torchattacks",
    "pandas",
    "sklearn",
    "matplotlib",
    "scipy",
    "numpy",
    "lightning",
    "ray",
)


def read_sources() -> dict[str, str]:
    """Returns the source of every module under the name it is imported by."""
    folders = {"robustcsc": ROOT / "robustcsc"}
    folders |= {f"robustcsc.{name}": ROOT / name for name in ("cli", "corruption_specs")}
    sources = {}
    for package, folder in folders.items():
        for path in sorted(folder.rglob("*.py")):
            inner = path.relative_to(folder).with_suffix("").parts
            name = ".".join((package, *inner)).removesuffix(".__init__")
            sources[name] = path.read_text(encoding="utf-8")
    return sources


def imported(module: str, source: str, sources: dict[str, str]) -> Iterator[tuple[int, str]]:
    """Yields (line number, full module name) of all imports in a source, those inside functions too."""
    is_package = any(name.startswith(f"{module}.") for name in sources)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parents = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parents, base] if base else parents)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield node.lineno, full if full in sources else base
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "importlib.import_module",
            "import_module",
        ):
            name = node.args[0] if node.args else None
            if isinstance(name, ast.Constant):
                yield node.lineno, str(name.value)


def objection(importer: str, target: str) -> str | None:
    """Returns what is wrong with one import, `None` if it is fine."""
    here, there = (name.split(".") for name in (importer, target))
    if there[0] in ("cli", "corruption_specs", "tests", "benchmarks"):
        return "is no module of the installed package"
    if there[0] != "robustcsc" or len(there) == 1:
        return None
    if len(here) == 1:
        return "the package root imports nothing of its own"
    if here[1] == there[1]:
        if here[1:3] == there[1:3] == ["cli", "commands"]:
            alike = here[3:4] == there[3:4] or here[3:] == []
            return None if alike else "no command imports another"
        user, used = (".".join(name[2:3]) for name in (here, there))
        if here[1] != "models" or user in MODELS_ABOVE_FAMILIES or used in MODELS_BELOW_FAMILIES | {user}:
            return None
        return "model families stand alone; what two share belongs in robustcsc.layers"
    if there[1] not in LINE_OF:
        return "has no line in LINES"
    if there[1] in STRANGERS.get(here[1], ()):
        return "must stay a stranger to it"
    return None if LINE_OF[there[1]] < LINE_OF[here[1]] else "is not on an earlier line"


def violations(sources: dict[str, str]) -> list[str]:
    """Returns one line of text for every import that goes the wrong way and every module without a place."""
    found = []
    for module, source in sources.items():
        if "." in module and module.split(".")[1] not in LINE_OF:
            found.append(f"{module} has no line in LINES")
            continue
        for number, target in imported(module, source, sources):
            if wrong := objection(module, target):
                found.append(f"{module}:{number} imports {target}: {wrong}")
    return found


def test_imports_go_one_way() -> None:
    sources = read_sources()
    assert {"robustcsc", "robustcsc.errors", "robustcsc.cli.main", "robustcsc.corruption_specs"} <= set(sources)
    assert violations(sources) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("robustcsc.errors", "import robustcsc.progress"),  # the same line is not an earlier line
        ("robustcsc.layers.prox", "from robustcsc.data import load"),
        ("robustcsc.layers.prox", "import robustcsc.reports.tables as tables"),
        ("robustcsc.layers.prox", "from ..data import load"),
        ("robustcsc.layers", "from ..data import load"),  # a package: one dot is itself
        ("robustcsc.layers.prox", "from robustcsc import evaluation"),
        ("robustcsc.layers.prox", "def late():\n    from robustcsc.models import sdnet"),
        ("robustcsc.layers.prox", "import importlib\nimportlib.import_module('robustcsc.models')"),
        (
            "robustcsc.layers.prox",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import robustcsc.runs",
        ),
        ("robustcsc.evaluation", "from robustcsc.reports import tables"),
        ("robustcsc.reports.tables", "from robustcsc.cli import console"),
        ("robustcsc.reports.tables", "from robustcsc import cli"),
        ("robustcsc.reports.tables", "from cli import console"),
        ("robustcsc.reports.tables", "import tests.fixtures"),
        ("robustcsc.models.detrame", "from robustcsc.models.sdnet import sdnet18"),
        ("robustcsc.models.detrame", "from robustcsc.models import sdnet"),
        ("robustcsc.models.detrame", "from . import sdnet"),
        ("robustcsc.models.detrame", "from .catalog import MODELS"),
        ("robustcsc.models.convert", "from .sdnet import sdnet18"),
        ("robustcsc.models.detrame", "from robustcsc.models import MODELS"),
        ("robustcsc", "from robustcsc.models import sdnet"),
        ("robustcsc.presentation.table", "from robustcsc.models import sdnet"),
        ("robustcsc.cli.commands.attack", "from robustcsc.cli.commands import sweep"),
        ("robustcsc.utilities", "import os"),  # a module nobody gave a line
        ("robustcsc.reports.page", "from robustcsc.utilities import tidy"),
    ],
)
def test_checker_finds_a_planted_violation(module: str, source: str) -> None:
    known = dict.fromkeys(
        (
            "robustcsc", "robustcsc.errors", "robustcsc.layers", "robustcsc.layers.prox", "robustcsc.data",
            "robustcsc.models", "robustcsc.models.catalog", "robustcsc.models.convert",
            "robustcsc.models.sdnet", "robustcsc.models.detrame",
            "robustcsc.runs", "robustcsc.evaluation", "robustcsc.reports", "robustcsc.reports.tables",
            "robustcsc.cli", "robustcsc.cli.console",
            "robustcsc.presentation", "robustcsc.presentation.table",
            "robustcsc.cli.commands", "robustcsc.cli.commands.attack", "robustcsc.cli.commands.sweep",
        ),
        "",
    )  # fmt: skip
    assert violations(known) == []
    assert len(violations({**known, module: source})) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("robustcsc.data.load", "import torch\nfrom robustcsc.errors import DataError"),
        ("robustcsc.layers.csc", "from robustcsc.layers.prox import soft_threshold"),
        ("robustcsc.layers.csc", "from .prox import soft_threshold"),
        ("robustcsc.models.sdnet", "from robustcsc.layers.csc import CSCConv2d"),
        ("robustcsc.models.sdnet", "from robustcsc.models.convert import with_csc_layers"),
        ("robustcsc.models.catalog", "from robustcsc.models import detrame, sdnet"),
        ("robustcsc.models.checkpoint", "from robustcsc.models.catalog import MODELS"),
        ("robustcsc.cli.main", "from robustcsc import __version__\nfrom . import console"),
    ],
)
def test_checker_accepts_the_right_way(module: str, source: str) -> None:
    known = dict.fromkeys(
        ("robustcsc", "robustcsc.models", "robustcsc.models.sdnet", "robustcsc.models.detrame",
         "robustcsc.models.catalog", "robustcsc.models.convert", "robustcsc.cli", "robustcsc.cli.console"),
        "",
    )  # fmt: skip
    assert violations({**known, module: source}) == []


def test_light_modules_and_all_command_modules_load_nothing_heavy() -> None:
    sources = read_sources()
    folders = ("robustcsc.cli", "robustcsc.measurements")
    names = [*LIGHT, *(name for name in sources if name.startswith(folders))]
    assert set(names) <= set(sources)
    code = (
        f"import importlib, sys\nfor name in {names}:\n    importlib.import_module(name)\n"
        f"print(*(name for name in {HEAVY} if name in sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.split() == []
