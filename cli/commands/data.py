"""`robustcsc data`: which data sets there are; `robustcsc data corrupt`: corrupted copies of one as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from robustcsc.cli import options
from robustcsc.cli.console import note, print_json, print_line, progress_display
from robustcsc.cli.render import print_tables
from robustcsc.cli.threads import start_torch
from robustcsc.cli.usage import Commands
from robustcsc.measurements.datasets import DATASETS, check_asked
from robustcsc.measurements.severity_tables import default_spec_name, load_spec

_ROOTS = (
    "The folder of a data set is --root, where the run was last measured or trained, or $ROBUSTCSC_DATA/NAME; NAME is "
    "the data set, or the folder's own name for an image folder that the run knows."
)

app = typer.Typer(cls=Commands, invoke_without_command=True, add_completion=False)


@app.callback()
def data(context: typer.Context, as_json: options.Json = False) -> None:
    """List the data sets, or write corrupted copies of one."""
    if context.invoked_subcommand is not None:
        return
    from robustcsc.presentation.table import Column, Table

    if as_json:
        print_json(DATASETS)
        return
    rows = tuple((name, it.about, it.needs_root, it.can_download) for name, it in DATASETS.items())
    columns = tuple(map(Column, ("data set", "what it is", "needs --root", "--download")))
    print_tables([Table(name="data", title="Data sets", columns=columns, rows=rows, notes=(_ROOTS,))])


@app.command("corrupt")
def corrupt(
    out: Annotated[
        Path,
        options.in_output(
            metavar="FOLDER",
            callback=options.writable,
            help="Where to write: a new or empty folder, or one of an interrupted command.",
        ),
    ],
    name: Annotated[str, options.in_data("--data", metavar="NAME", help="Data set, see `robustcsc data`.")],
    root: options.Root = None,
    download: options.Download = False,
    split: Annotated[Literal["train", "test"], options.in_data(help="Which images.")] = "test",
    image_size: options.ImageSize = None,
    class_order: options.ClassOrder = None,
    readers: options.Readers = 2,
    limit: options.Limit = None,
    corruptions: options.Corruptions = None,
    severities: options.Severities = options.ALL_SEVERITIES,
    spec: options.Spec = None,
    frost_root: options.FrostRoot = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    batch_size: options.BatchSize = 250,
    seed: options.Seed = 0,
    form: Annotated[
        Literal["cifar-c", "imagenet-c"] | None,
        options.in_output(
            "--format",
            help="Layout of the published files: one array for each corruption, or JPEG files in folders; imagenet-c "
            "for images of 96 pixels and more if not given.",
        ),
    ] = None,
    png: Annotated[bool, options.in_output("--png", help="PNG files instead of JPEG, for imagenet-c.")] = False,
    as_json: options.Json = False,
) -> None:
    """Write corrupted copies of a data set in the layout of CIFAR-10-C or ImageNet-C.

    Rerun an interrupted command to resume it. `robustcsc sweep --corrupted-root` reads the files.
    """
    check_asked(name, image_size=image_size, class_order=class_order, download=download, readers=readers)
    options.check_corruptions(corruptions, spec, frost_root)

    start_torch(threads)
    from robustcsc.corruptions.export import Export, earlier_manifest
    from robustcsc.corruptions.trial import chosen_corruptions
    from robustcsc.session.choices import DataChoice, choose_device, note_unreadable

    place = choose_device(device)
    earlier_manifest(out)  # a mistake is told before images are read
    images = DataChoice(name, root, download, image_size, class_order, readers).load(None, split, limit, note)
    table_name = default_spec_name(images.image_shape)
    table = load_spec(spec or table_name, frost_root)
    names = chosen_corruptions(images, table, corruptions, severities, device=place, note=note)
    with progress_display() as progress:
        export = Export(
            images=images,
            spec=table,
            form=form or ("imagenet-c" if table_name == "imagenet_c" else "cifar-c"),
            seed=seed,
            png=png,
            batch_size=batch_size,
            device=place,
            progress=progress,
        )
        paths = export.write(out, names, severities)
    note_unreadable(images.unreadable, note)
    if as_json:
        print_json({"folder": out, "paths": paths})
        return
    for path in paths:
        print_line(str(path))
