"""Looking inside a model: it is opened, a function finds something, and that is printed and kept as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from robustcsc.cli import options
from robustcsc.cli.choices import Chosen
from robustcsc.cli.console import note, print_json
from robustcsc.cli.render import print_tables
from robustcsc.files import replacing

if TYPE_CHECKING:
    from robustcsc.inspection.specimen import Findings, Specimen


# Each parameter is an option of the commands.
def find(
    inspected: Callable[[Specimen], Findings[object]],
    chosen: Chosen,
    device: options.Device,
    out: Path | None,
    as_json: bool,
    *,
    limit: int | None = None,
    layers: str | None = None,
    batch_size: int = 100,
) -> None:
    """Prints what is found in a model, as tables or JSON, and writes tables and figures into a folder if there is one.

    The test images are loaded only if they are used.

    Raises:
        RobustCSCError: `out` cannot be written to, or as for `Chosen.session` and `inspected`.
    """
    from robustcsc.inspection.specimen import Specimen
    from robustcsc.session.choices import note_unreadable

    with chosen.session(device, limit, batch_size=batch_size, writes=False) as session:
        images = cache(session.images)
        specimen = Specimen(
            name=session.trained.spec.name,
            model=session.model.model,
            image_shape=session.trained.spec.image_shape,
            images=images,
            layers=options.words(layers or ""),
            draw=out is not None,
            device=session.device,
            batch_size=batch_size,
            progress=session.measuring.progress,
        )
        found = inspected(specimen)
        if images.cache_info().currsize:
            note_unreadable(images().unreadable, note)
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
        raise _not_written(folder, error.strerror) from error
    note(f"Written: {', '.join(str(folder / name) for name in files)}")


def _not_written(folder: Path, reason: str | None) -> options.OptionError:
    return options.OptionError(f"--out {folder} cannot be written to ({reason}): choose another folder.")
