"""Every command and every Python block of the documentation runs, page by page.

The images are random, and commands are shortened as `SMALLER` says; nothing else differs from what is printed.
"""

import ast
import contextlib
import importlib
import importlib.util
import pickle
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

import robustcsc
from robustcsc.cli import main as cli_main

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
}

#: Programs that the documentation names but this test does not run.
NOT_RUN = {
    "make": "installs the project or runs all tests, including this one",
    "pip": "installs the project",
}
#: Options that shorten a command, whatever the page says.
SMALLER = {
    "train": {"--epochs": "1"},
    "fit-lambda": {"--limit": "10", "--grid": "0.1,0.5,1"},
    "attack": {"--limit": "4"},
    "uap": {"--limit": "4", "--crafting-images": "10"},
    "random-noise": {"--limit": "4"},
}
#: The ImageNet form of a network begins at 96 pixels.
IMAGE_SIZE = "96"

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# (\w+\.(?:py|toml))\n")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its text, and the line it begins at."""

    language: str
    text: str
    line: int

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command of a block of shell; comments are left out."""
        lines = self.text.splitlines() if self.language == "sh" else []
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    return [Block(it[1], it[2], text.count("\n", 0, it.start()) + 2) for it in _FENCE.finditer(text)]


def commands(path: Path) -> list[list[str]]:
    return [words for block in blocks(path) for words in block.commands]


TYPED = {name: commands(path) for name, path in PAGES.items()}
RUN = [name for name, path in PAGES.items() if any(it.language in ("sh", "python") for it in blocks(path))]


def silenced(command: Any) -> Any:
    """Returns the command without the functions it calls: it parses, and does nothing."""
    command.callback = None
    for child in getattr(command, "commands", {}).values():
        silenced(child)
    return command


@pytest.mark.parametrize("page", [name for name, typed in TYPED.items() if typed])
def test_commands_of_a_page_are_understood(page: str) -> None:
    parser = silenced(typer.main.get_command(cli_main.app))
    for words in TYPED[page]:
        if words[0] not in NOT_RUN:
            assert words[0] == "robustcsc", words
            parser.main(words[1:], prog_name="robustcsc", standalone_mode=False)  # raises what it does not understand


def test_parser_of_these_tests_refuses_what_is_misspelt() -> None:
    parser = silenced(typer.main.get_command(cli_main.app))
    for typed in ("sweep --nonsense", "nonsense", "attack --pgd l1", "train", "sweep --severities 0-7"):
        with pytest.raises(Exception, match=r"No such|Unknown command|is not one of|Missing|severities"):
            parser.main(typed.split(), prog_name="robustcsc", standalone_mode=False)


@pytest.mark.parametrize("page", RUN)
def test_python_of_a_page_compiles(page: str) -> None:
    for block in blocks(PAGES[page]):
        if block.language == "python":
            compile(block.text, f"{page}:{block.line}", "exec")


def test_every_command_is_shown_somewhere() -> None:
    shown = {words[1] for typed in TYPED.values() for words in typed if words[0] == "robustcsc"}
    app: Any = typer.main.get_command(cli_main.app)
    assert shown == set(app.commands)


def hooks() -> ModuleType:
    """Returns the module that makes the generated pages."""
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_of_commands_has_every_option() -> None:
    page = hooks().commands_page()
    for name, command in hooks().leaf_commands(typer.main.get_command(cli_main.app), "robustcsc"):
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        for parameter in command.params:
            shown = parameter.opts[0] if parameter.param_type_name == "option" else parameter.name
            assert shown in section or (parameter.metavar or "?").strip("[]")[:4] in section, (name, shown)


def test_api_has_every_module() -> None:
    pages = "".join(hooks().api_page(package) for package in hooks().api_pages())
    for path in (ROOT / "robustcsc").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        assert path.stem == "__init__" or f"::: {module}\n" in pages, module


def test_python_page_lists_every_name() -> None:
    table = hooks().names_table()
    assert set(re.findall(r"^\| \[`(\w+)`\]", table, re.MULTILINE)) == set(robustcsc.__all__)
    assert hooks().NAMES in PAGES["docs/python.md"].read_text(encoding="utf-8")


def test_python_blocks_import_what_exists() -> None:
    for page in RUN:
        for block in blocks(PAGES[page]):
            if block.language == "python":
                for node in ast.walk(ast.parse(block.text)):
                    if isinstance(node, ast.ImportFrom) and str(node.module).startswith("robustcsc"):
                        module = importlib.import_module(str(node.module))
                        assert all(hasattr(module, alias.name) for alias in node.names), (page, block.line)
                    if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "rc":
                        assert node.attr in robustcsc.__all__, (page, block.line, node.attr)


def test_links_to_the_api_name_something_documented() -> None:
    for page, path in PAGES.items():
        for target in re.findall(r"\]\[(robustcsc[\w.]*)\]", path.read_text(encoding="utf-8")):
            parts = target.split(".")
            length = max(at for at in range(1, len(parts) + 1) if is_module(".".join(parts[:at])))
            found: Any = importlib.import_module(".".join(parts[:length]))
            for name in parts[length:]:
                assert name in vars(found), (page, target)
                found = vars(found)[name]


def test_readme_snippet_has_at_most_eight_lines() -> None:
    (snippet,) = [block for block in blocks(ROOT / "README.md") if block.language == "python"]
    assert len([line for line in snippet.text.splitlines() if line.strip()]) <= 8


def is_module(name: str) -> bool:
    """Whether there is a module or package of this name."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def test_pictures_are_small_and_used() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in PAGES.values())
    for picture in (ROOT / "docs" / "images").iterdir():
        assert picture.stat().st_size < 150_000, picture
        assert f"images/{picture.name})" in text, picture


@pytest.mark.slow
def test_site_builds_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    python = ROOT / ".venv-docs" / "bin" / "python"
    if not python.exists():
        pytest.skip("the tools that build the site are not installed: `make docs` installs them")
    build = [str(python), "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page.read_text(encoding="utf-8")):
            assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", tag), (page, tag)


def write_images(root: Path, classes: Sequence[str], train: int, test: int) -> None:
    """Writes an image folder of random 32x32 images."""
    draws = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for name in classes:
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = draws.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")


def write_cifar(root: Path, corrupted: Path) -> None:
    """Writes made-up images in the layout of CIFAR-10, and their corrupted copies in that of CIFAR-10-C."""
    cifar: Any = importlib.import_module("torchvision.datasets").CIFAR10

    from robustcsc.corruptions import load_spec

    draws, labels = np.random.default_rng(1), np.arange(20) % 10
    pixels = draws.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    (root / cifar.base_folder).mkdir(parents=True)
    rows = {"data": pixels.transpose(0, 3, 1, 2).reshape(20, -1), "labels": labels.tolist()}
    for file, _ in [*cifar.train_list, *cifar.test_list]:
        (root / cifar.base_folder / file).write_bytes(pickle.dumps(rows))
    meta = {"label_names": [f"class-{label}" for label in range(10)]}
    (root / cifar.base_folder / "batches.meta").write_bytes(pickle.dumps(meta))
    corrupted.mkdir(parents=True)
    np.save(corrupted / "labels.npy", np.tile(labels, 5))
    for name in load_spec("cifar10_c").corruptions:
        np.save(corrupted / f"{name}.npy", np.concatenate([pixels] * 5))


def write_weights(path: Path) -> None:
    """Writes the state dict of a ResNet-20 with padded shortcuts as `DataParallel` names it."""
    import torch

    from robustcsc.models.catalog import build, default_spec

    model = build(default_spec("resnet20", 10, (3, 32, 32), options={"shortcut": "A"}))
    network = {f"module.{name}": it for name, it in model.get_submodule("network").state_dict().items()}
    torch.save({"state_dict": network, "epoch": 200}, path)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh directory with the data that documents name, in which a page is read out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5=None: Path(path).exists())
    write_images(tmp_path / "path/to/cifar10", [f"class-{label}" for label in range(10)], train=10, test=2)
    write_images(tmp_path / "path/to/imagenet", ["class-0", "class-1"], train=10, test=2)
    write_images(tmp_path / "path/to/imagenette", ["n01440764", "n02102040"], train=1, test=2)
    write_cifar(tmp_path / "path/to/cifar10-files", tmp_path / "path/to/cifar10-c")
    write_weights(tmp_path / "path/to/resnet20.th")
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (96, 96, 3), dtype=np.uint8)).save("photo.jpg")
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.partition(".")[0] == "own":
            del sys.modules[name]


def smaller(words: list[str]) -> list[str]:
    """Returns a command with the settings of `SMALLER`."""
    settings = {option: value for word in words for option, value in SMALLER.get(word, {}).items()}
    if "--image-size" in words:
        settings["--image-size"] = IMAGE_SIZE
    words = list(words)
    for option, value in settings.items():
        if option in words:
            words[words.index(option) + 1] = value
        else:
            words += [option, value]
    return words


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_page_does_what_it_says(page: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(PAGES[page]):
        named = _FILE.match(block.text)
        if named:
            (place / named[1]).write_text(block.text)
            importlib.invalidate_caches()
        elif block.language == "python":
            with contextlib.chdir(place):
                names = notebook if page.startswith("docs/notebooks/") else {"__name__": "__main__"}
                exec(compile(block.text, f"{page}:{block.line}", "exec"), names)
        for words in block.commands:
            if words[0] == "robustcsc":
                capsys.readouterr()
                code = cli_main.main(smaller(words)[1:])
                assert code == 0, (page, block.line, words, capsys.readouterr().err)
