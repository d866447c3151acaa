"""`robustcsc corruptions`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robustcsc.cli import options
from robustcsc.cli.console import print_json, print_line
from robustcsc.cli.render import print_tables
from robustcsc.files import check_writable, write_whole
from robustcsc.measurements.severity_tables import Spec, load_spec


def corruptions(
    spec: Annotated[
        str, typer.Argument(metavar="[NAME|FILE]", help="cifar10_c, imagenet_c or a TOML file.")
    ] = "cifar10_c",
    preview: Annotated[
        Path | None,
        options.in_output(
            metavar="IMAGE", help="Draw an image file, of any size, under every corruption and severity instead."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        options.in_output(
            metavar="FILE.png",
            callback=options.writable,
            help="Where --preview draws; <table>-preview.png here if not given.",
        ),
    ] = None,
    frost_root: options.FrostRoot = None,
    as_json: options.Json = False,
) -> None:
    """List the corruptions of a severity table with their strengths, or show them on an image."""
    if out is not None:
        if preview is None:
            raise options.OptionError("--out is where --preview draws: give an image with --preview IMAGE.")
        if out.suffix.lower() != ".png":
            raise options.OptionError(f"--out {out}: the preview is a PNG file, so its name must end in .png.")

    from robustcsc.presentation.table import Column, Table

    table = load_spec(spec, frost_root)
    if preview is not None:
        path = _draw_preview(preview, table, out or Path(f"{table.name}-preview.png"))
        if as_json:
            print_json({"preview": path})
        else:
            print_line(str(path))
        return
    if as_json:
        print_json(table)
        return
    rows = tuple(
        (
            *(name, entry.group, "yes" if entry.standard else "extra"),
            *(", ".join(f"{key} {value:g}" for key, value in level.items()) for level in entry.levels),
        )
        for name, entry in table.corruptions.items()
    )
    headings = ("corruption", "group", "standard", *(f"severity {severity}" for severity in range(1, 6)))
    title = f"{table.name}: strengths for images of {table.image_size}x{table.image_size} pixels"
    notes = (f"Source: {table.source}",)
    print_tables([Table("corruptions", title, tuple(map(Column, headings)), rows, notes)])


def _draw_preview(image: Path, table: Spec, out: Path) -> Path:
    """Writes the contact sheet of an image and returns its path."""
    import io

    from robustcsc.corruptions.preview import contact_sheet, read_square

    check_writable(out, "--out", folder=False)
    sheet = contact_sheet(read_square(image, table.image_size), table)
    content = io.BytesIO()
    sheet.save(content, "PNG")
    write_whole(out, content.getvalue())
    return out
