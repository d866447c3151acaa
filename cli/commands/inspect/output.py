"""What the sub-commands of `robustcsc inspect` share: options, opening the model, and writing what was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustcsc.cli import options
from robustcsc.cli.choices import Chosen
from robustcsc.cli.console import note, print_json
from robustcsc.cli.render import print_tables
from robustcsc.files import replacing

if TYPE_CHECKING:
    from robustcsc.inspection.specimen import Findings, Specimen
    from robustcsc.session.session import Session

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
        OptionError: A file is in its place.
    """
    if folder is None:
        return
    first = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if first is not None and not first.is_dir():
        raise options.OptionError(f"--out {folder} cannot be written to ({first} is a file): choose another folder.")


@contextmanager
def opened(
    chosen: Chosen, out: Path | None, batch_size: int = 100, layers: str | None = None
) -> Iterator[tuple[Session, Specimen]]:
    """Opens a model to look inside. Its test images are loaded only if they are used.

    Raises:
        RobustCSCError: `out` cannot be a folder, or as for `Chosen.session`.
    """
    check_folder(out)
    from robustcsc.inspection.specimen import Specimen
    from robustcsc.session.choices import note_unreadable

    with chosen.session(batch_size=batch_size) as session:
        images = cache(session.images)
        yield (
            session,
            Specimen(
                name=session.trained.spec.name,
                model=session.model.model,
                image_shape=session.trained.spec.image_shape,
                images=images,
                layers=options.words(layers or ""),
                draw=out is not None,
                device=session.device,
                batch_size=batch_size,
                progress=session.measuring.progress,
            ),
        )
        if images.cache_info().currsize:
            note_unreadable(images().unreadable, note)


def show(found: Findings[object], out: Path | None, as_json: bool) -> None:
    """Prints findings as tables or JSON, and writes tables and figures into a folder, if one was given.

    Raises:
        OptionError: The folder cannot be written to.
    """
    if out is not None:
        from robustcsc.presentation.csv_table import csv_text

        files = {f"{table.name}.csv": csv_text(table).encode() for table in (*found.tables, *found.long_tables)}
        for drawing in found.drawings:
            files |= {f"{drawing.name}.svg": drawing.to_svg().encode(), f"{drawing.name}.png": drawing.to_png()}
        _write(out, files)
    if as_json:
        print_json(found.facts)
    else:
        print_tables(found.tables)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes all files, or none: they take their names once all are on the disk.

    Raises:
        OptionError: The folder cannot be written to.
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
