"""What this site adds to the plugins of mkdocs: pages made from the code, and equations as MathML.

mkdocs calls the functions named `on_...`. Nothing here imports torch.
"""

from __future__ import annotations

import ast
import html
import logging
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_LOG = logging.getLogger("mkdocs.hooks.robustcsc")

ROOT = Path(__file__).resolve().parents[1]

#: Documents outside this folder, by their page.
ELSEWHERE = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}

#: The Jupyter kernel of the notebooks: the Python that robustcsc and torch are installed for. `make docs` registers it.
KERNEL = "robustcsc"

#: Where a page lists the names of the Python interface.
NAMES = "<!-- names of robustcsc/__init__.pyi: docs/hooks.py puts the table here -->"

_LIST_ITEM = re.compile(r"\s*([-*]|\d+\.) ")
_MATH = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_config(config: Any) -> Any:
    """Adds the API pages to the navigation, and makes Markdown lists behave as on GitHub."""
    config.nav.append({"API": [{package: page} for package, page in api_pages().items()]})
    config.markdown_extensions.append(_lists_after_text())
    return config


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages made from the code and from documents outside this folder."""
    from mkdocs.structure.files import File

    made = {page: api_page(package) for package, page in api_pages().items()}
    made["commands.md"] = commands_page()
    for page, document in ELSEWHERE.items():
        made[page] = (ROOT / document).read_text(encoding="utf-8").replace("](docs/", "](")
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    for notebook in [it for it in files.documentation_pages() if it.src_uri.startswith("notebooks/")]:
        files.remove(notebook)
        for name, content in executed(Path(notebook.abs_src_path)).items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def executed(source: Path) -> dict[str, str | bytes]:
    """Returns the page of a notebook with all that its cells show, its figures, and itself for Jupyter, by file name.

    Raises:
        CellExecutionError: A cell fails.
    """
    import jupytext
    from nbclient import NotebookClient
    from nbconvert import MarkdownExporter

    notebook = jupytext.read(source)
    with tempfile.TemporaryDirectory() as place:  # the runs of the notebook
        resources = {"metadata": {"path": place}}
        NotebookClient(notebook, kernel_name=KERNEL, timeout=600, resources=resources).execute()
    page, shown = MarkdownExporter().from_notebook_node(notebook, {"unique_key": source.stem})
    title, rest = page.lstrip().split("\n", 1)
    download = f"*This page is a [Jupyter notebook]({source.stem}.ipynb); it is executed when the site is built.*"
    page = f"{title}\n\n{download}\n{rest}".replace(' border="1" class="dataframe"', "")  # tables look like others
    return {source.name: page, f"{source.stem}.ipynb": jupytext.writes(notebook, fmt="ipynb"), **shown["outputs"]}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Returns a page with the table of the Python interface where it asks for it."""
    return markdown.replace(NAMES, names_table())


def on_page_content(content: str, **_: Any) -> str:
    """Returns a page with its equations as MathML, which needs no script."""
    return _MATH.sub(_as_mathml, content)


def _as_mathml(match: re.Match[str]) -> str:
    from latex2mathml.converter import convert

    latex = html.unescape(match[2]).strip()
    mathml = convert(latex, display="block" if match[1] == "div" else "inline")
    if "\\" in mathml:
        _LOG.warning("latex2mathml does not know a command in %s", latex)
    return mathml


def packages() -> Iterator[Path]:
    """Yields the folders of the library, each before those inside it."""
    yield from sorted(path.parent for path in (ROOT / "robustcsc").rglob("__init__.py"))


def api_pages() -> dict[str, str]:
    """Returns the page of every package that has modules."""
    names = [".".join(folder.relative_to(ROOT).parts) for folder in packages() if modules_of(folder)]
    return {name: f"api/{name.removeprefix('robustcsc.')}.md" for name in names}


def modules_of(folder: Path) -> list[str]:
    """Returns the names of the modules of a package."""
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


def api_page(package: str) -> str:
    """Returns the page of a package: its docstring, then each of its modules."""
    folder = ROOT.joinpath(*package.split("."))
    about = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    return "\n\n".join([f"# {package}", about, *(f"::: {package}.{module}" for module in modules_of(folder))]) + "\n"


def names_table() -> str:
    """Returns a table of the names of the Python interface: what each of them is, and where it is documented."""
    rows = ["| name | description |", "|---|---|"]
    for module, name in sorted(interface(), key=lambda entry: (entry[1][0].isupper(), entry[1].lower())):
        rows.append(f"| [`{name}`][{module}.{name}] | {_words(summary(module, name))} |")
    return "\n".join(rows)


def interface() -> Iterator[tuple[str, str]]:
    """Yields module and name of everything in ``robustcsc/__init__.pyi``."""
    for node in ast.parse((ROOT / "robustcsc" / "__init__.pyi").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            yield from ((f"robustcsc.{node.module}", alias.name) for alias in node.names)


def summary(module: str, name: str) -> str:
    """Returns the first sentence of the docstring of a function or class."""
    source = ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
            return (ast.get_docstring(node) or "").split("\n\n")[0]
    raise LookupError(f"{module} has no function or class {name}")


def commands_page() -> str:
    """Returns what `--help` says of every command, as one page."""
    import typer

    from robustcsc.cli.main import app

    lines = [
        "# Commands",
        "",
        "Made from the command line itself: `robustcsc COMMAND --help` prints the same text.",
        "",
    ]
    for name, command in leaf_commands(typer.main.get_command(app), "robustcsc"):
        context = typer.Context(command, info_name=name)
        usage = " ".join([name, *command.collect_usage_pieces(context)])
        lines += [f"## {name}", "", _words(html.escape(command.help, quote=False)), "", "```text", usage, "```", ""]
        for panel, parameters in _panels(command).items():
            rows = [_row(it.get_help_record(context)) for it in parameters]
            lines += [f"**{panel}**", "", "| option | what it does |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def leaf_commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yields every command that does something, by its full name."""
    children: dict[str, Any] = getattr(command, "commands", {})
    if not children or getattr(command, "invoke_without_command", False):
        yield name, command
    for child, below in children.items():
        yield from leaf_commands(below, f"{name} {child}")


def _panels(command: Any) -> dict[str, list[Any]]:
    """Returns the arguments and options by the headings of the help."""
    panels: dict[str, list[Any]] = {}
    for parameter in command.params:
        if not getattr(parameter, "hidden", False):
            default = "Arguments" if parameter.param_type_name == "argument" else "Options"
            panels.setdefault(getattr(parameter, "rich_help_panel", None) or default, []).append(parameter)
    return panels


def _row(record: tuple[str, str]) -> str:
    """Returns the line of a parameter in a table."""
    return f"| <code>{_words(html.escape(record[0]))}</code> | {_words(html.escape(record[1], quote=False))} |"


def _words(text: str) -> str:
    """Returns a text as one line for a table cell."""
    return " ".join(text.split()).replace("|", "&#124;").replace("[", "&#91;")


def _lists_after_text() -> Any:
    """Returns the Markdown extension that allows a list directly below a line of text, as on GitHub."""
    from markdown.extensions import Extension
    from markdown.preprocessors import Preprocessor

    class Separated(Preprocessor):
        def run(self, lines: list[str]) -> list[str]:
            separated: list[str] = []
            for line in lines:
                before = separated[-1] if separated else ""
                unindented = before.strip() and not before.startswith(" ") and not _LIST_ITEM.match(before)
                if _LIST_ITEM.match(line) and not line.startswith(" ") and unindented:
                    separated.append("")
                separated.append(line)
            return separated

    class Lists(Extension):
        def extendMarkdown(self, md: Any) -> None:
            md.preprocessors.register(Separated(md), "lists_after_text", 20)  # after fenced code is put aside

    return Lists()
