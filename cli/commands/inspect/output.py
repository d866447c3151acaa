"""What the sub-commands of `robustcsc inspect` share: options, and how tables and figures leave the program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustcsc.cli import options
from robustcsc.cli.console import note, print_json
from robustcsc.cli.results import print_tables
from robustcsc.files import replacing

if TYPE_CHECKING:
    from robustcsc.report import Plot, Table

Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FOLDER",
        help="Also write the tables as CSV there, and the figures as SVG and PNG.",
        rich_help_panel=options.OUTPUT,
    ),
]
Layers = Annotated[
    str | None,
    typer.Option(
        "--layers",
        metavar="LIST",
        help="Names of layers with commas between them, * as a wildcard; all if not given.",
        rich_help_panel=options.MODEL,
    ),
]
FewImages = Annotated[
    int,
    typer.Option("--limit", metavar="N", min=1, help="Use N test images, evenly spaced.", rich_help_panel=options.DATA),
]


def check_folder(folder: Path | None) -> None:
    """Refuses a folder that cannot be written to, before anything is computed.

    Raises:
        OptionError: If a file is in its place.
    """
    if folder is None:
        return
    first = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if first is not None and not first.is_dir():
        raise options.OptionError(f"--out {folder} cannot be written to ({first} is a file): choose another folder.")


def show(
    result: object,
    tables: Sequence[Table],
    plots: Sequence[Plot],
    out: Path | None,
    as_json: bool,
    more: Sequence[Table] = (),
) -> None:
    """Prints a result as tables or JSON, and writes tables and figures into a folder, if one was given.

    Args:
        result: What JSON says.
        tables: Tables to print and to write.
        plots: Figures to write.
        out: The folder.
        as_json: Whether to print JSON.
        more: Tables to write only.

    Raises:
        OptionError: If the folder cannot be written to.
    """
    if out is not None:
        files = {f"{table.name}.csv": table.to_csv().encode() for table in (*tables, *more)}
        for plot in plots:
            files |= {f"{plot.name}.svg": plot.to_svg().encode(), f"{plot.name}.png": plot.to_png()}
        _write(out, files)
    if as_json:
        print_json(result)
    else:
        print_tables(tables)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes all files, or none: they take their names once all are on the disk.

    Raises:
        OptionError: If the folder cannot be written to.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with ExitStack() as waiting:
                for name, content in files.items():
                    waiting.enter_context(replacing(folder / name)).write_bytes(content)
        except BaseException:
            for path in made:
                if path.is_dir() and not any(path.iterdir()):
                    path.rmdir()
            raise
    except (FileExistsError, FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        message = f"--out {folder} cannot be written to ({error.strerror}): choose another folder."
        raise options.OptionError(message) from error
    note(f"Written: {', '.join(str(folder / name) for name in files)}")
