"""`robustcsc corruptions`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robustcsc.cli import options
from robustcsc.cli.console import print_json, print_line, progress_display
from robustcsc.cli.render import print_tables
from robustcsc.files import check_writable, write_whole
from robustcsc.measurements.severity_tables import Spec, load_spec, packaged_specs


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
    judge: Annotated[
        Path | None,
        options.in_data(
            metavar="FOLDER", help="Tell which corruption, table and severity the images there follow instead."
        ),
    ] = None,
    clean: Annotated[
        Path | None, options.in_data(metavar="FOLDER", help="The same images before they were corrupted, for --judge.")
    ] = None,
    frost_root: options.FrostRoot = None,
    as_json: options.Json = False,
) -> None:
    """List the corruptions of a severity table with their strengths, show them on an image, or judge corrupted images.

    With --judge, images are compared with every severity table of the package and with [FILE], by their error, how it
    lies over frequencies, intensities and colours, and pixel by pixel where a corruption has no random draw.
    """
    if (judge is None) != (clean is None):
        raise options.OptionError("Judging takes both folders: type --judge CORRUPTED --clean CLEAN.")
    if out is not None:
        if preview is None:
            raise options.OptionError("--out is where --preview draws: give an image with --preview IMAGE.")
        if out.suffix.lower() != ".png":
            raise options.OptionError(f"--out {out}: the preview is a PNG file, so its name must end in .png.")

    from robustcsc.presentation.table import Column, Table
    from robustcsc.reports.cohorts.words import stored_words

    table = load_spec(spec, frost_root)
    if judge is not None and clean is not None:
        _judge(judge, clean, table, frost_root, as_json)
        return
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
    notes = (f"Source: {table.source}", f"Corrupted images are stored as {stored_words(table.pixels)}.")
    print_tables([Table("corruptions", title, tuple(map(Column, headings)), rows, notes)])


def _judge(corrupted: Path, clean: Path, table: Spec, frost_root: Path | None, as_json: bool) -> None:
    """Prints what is known of the images in a folder."""
    from robustcsc.cli.judged import judged_table
    from robustcsc.corruptions.judging.folders import judge_folder

    tables = [*(load_spec(name, frost_root) for name in packaged_specs())]
    if table.name not in packaged_specs():
        tables.append(table)
    with progress_display() as progress:
        judged = judge_folder(corrupted.expanduser(), clean.expanduser(), tables, progress)
    if as_json:
        print_json(judged)
    else:
        print_tables([judged_table(judged, [it.name for it in tables])])


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
