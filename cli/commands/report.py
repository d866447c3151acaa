"""`robustcsc report`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from robustcsc import runs
from robustcsc.cli import options
from robustcsc.cli.console import note, print_json
from robustcsc.cli.context import DEMO_RUN, DataChoice, ModelChoice, Session, open_session
from robustcsc.cli.results import print_tables, without_columns
from robustcsc.errors import StoreError
from robustcsc.files import write_whole
from robustcsc.runs import Run

if TYPE_CHECKING:
    from robustcsc.measurements.fits import LambdaFit
    from robustcsc.records import Record
    from robustcsc.report import Baseline, Table

#: Sections that only the page and the files show: they would flood a terminal.
LONG_SECTIONS = ("severity", "fits", "paired")

#: Sections whose tables may have a column per corruption: a terminal shows those with more columns than this upright.
WIDE_SECTIONS = ("headline", "means", "errors")
MOST_COLUMNS = 8


def report(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Runs side by side; the latest run if none is given.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the report.", rich_help_panel=options.OUTPUT)] = None,
    paper: Annotated[
        Literal["sdnet", "detrame", "res-msd-csc", "tddl"] | None,
        typer.Option(
            help="Lay what was measured into this paper's tables, its own figures beside it in columns of their own.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            metavar="RUN|alexnet",
            help="Divide the errors on corrupted images by those of this run (mCE), which joins the report, or by "
            "the published ones of AlexNet on ImageNet-C.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where to write; by default into the (first) run's folder.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Where to put a copy of the page, which needs no other file.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    examples: Annotated[
        int | None,
        typer.Option(
            "--examples",
            metavar="N",
            min=1,
            max=50,
            help="Make N example images of each run first (clean, corrupted, adversarial) and show what it says of "
            "them; later reports show them, too.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    data: options.Data = None,
    root: options.Root = None,
    as_json: options.Json = False,
) -> None:
    """Print the tables of one or more runs and write CSV, Markdown, LaTeX, figures and one HTML page.

    --data and --root say where the images for --examples lie, if the run does not know.
    """
    from robustcsc.measurements.trainings import Training
    from robustcsc.report import perturbation_pictures, read_examples, write_report

    related, joining = _related(baseline)
    chosen = [runs.find(name) for name in names] if names else [_latest_measured()]
    chosen += [run for run in joining if run.folder.resolve() not in {other.folder.resolve() for other in chosen}]
    records, fits = collect(chosen)
    known = [training for run in chosen if (training := Training.read(run.weights_path))]
    if examples is not None:
        for run in chosen:
            choice = DataChoice(data, root)
            keep_examples(open_session(ModelChoice(str(run.folder)), choice, "auto"), choice, examples)
    folder = out or chosen[0].reports
    title = title or f"Robustness of {', '.join(run.name for run in chosen)}"
    paths = write_report(
        records,
        fits,
        folder,
        title=title,
        trainings=known,
        paper=paper,
        baseline=related,
        pictures=perturbation_pictures(records, {run.name: run.folder for run in chosen}),
        examples=[sheet for run in chosen if (sheet := read_examples(run.folder, run.name))],
    )
    if html is not None:
        _copy_page(paths.page, html)
    if as_json:
        print_json({"page": paths.page, "records": paths.records, "tables": paths.tables, "figures": paths.figures})
        return
    shown: list[Table] = []
    for section in paths.sections:
        if section.anchor in WIDE_SECTIONS:
            shown += [upright(table) if len(table.columns) > MOST_COLUMNS else table for table in section.tables]
        elif section.anchor == "paper":
            shown += section.tables
        elif section.anchor not in LONG_SECTIONS:
            shown += [without_columns(table, ("severity ",)) for table in section.tables]
    print_tables(shown)
    note(f"Every table as CSV, Markdown and LaTeX, and all figures: {paths.folder}\nThe page: {paths.page}")


def collect(chosen: Sequence[Run]) -> tuple[list[Record], list[LambdaFit]]:
    """Returns all records and lambda fits of the runs.

    Raises:
        StoreError: If a run has no records.
    """
    from robustcsc.evaluation.subject import lambda_fits
    from robustcsc.measurements.store import ResultStore
    from robustcsc.measurements.fits import LambdaFit

    records: list[Record] = []
    fits: list[LambdaFit] = []
    for run in chosen:
        with ResultStore(run.store_path, read_only=True) as store:
            measured = store.records()
        if not measured:
            raise StoreError(
                f"Run {run.name!r} has no results to report yet: measure some with `robustcsc sweep --run {run.name}`."
            )
        records += measured
        fits += [LambdaFit.load(path) for path in lambda_fits(run).values()]
    return records, fits


def _copy_page(page: Path, file: Path) -> None:
    """Copies the page to a file.

    Raises:
        StoreError: It cannot be written.
    """
    try:
        write_whole(file, page.read_bytes())
    except OSError as error:
        raise StoreError(f"The page cannot be written to {file}: {error.strerror or error}.") from error


def keep_examples(session: Session, data: DataChoice, count: int) -> None:
    """Writes test images, clean, corrupted and attacked, with the model's answers into the folder of its run."""
    from robustcsc.cli.evaluate import default_spec_name
    from robustcsc.corruptions import load_spec
    from robustcsc.evaluation.examples import make_examples
    from robustcsc.report.examples import FOLDER

    images = data.load(session.trained, "test")
    spec = load_spec(default_spec_name(images.image_shape))
    make_examples(session.subject, images, session.run.folder / FOLDER, count=count, spec=spec)


def upright(table: Table) -> Table:
    """Returns the table with its columns as rows, under one heading made of the words that begin each row."""
    from robustcsc.report.corruption_errors import LABELS, MEASURE

    words = sum(heading in (*LABELS, MEASURE) for heading in table.columns)
    return replace(
        table,
        columns=("", *(", ".join(row[:words]) for row in table.rows)),
        rows=tuple(zip(table.columns[words:], *(row[words:] for row in table.rows), strict=True)),
    )


def _related(name: str | None) -> tuple[Baseline | None, list[Run]]:
    """Returns the baseline called `name`, and its run if it is one, which joins the report.

    Raises:
        StoreError: There is no such run, or it has no results that others can be divided by.
    """
    from robustcsc.report import ALEXNET_NAME, PUBLISHED_ALEXNET, measured_baseline

    if name is None:
        return None, []
    if name == ALEXNET_NAME:
        return PUBLISHED_ALEXNET, []
    run = runs.find(name)
    return measured_baseline(run.name, collect([run])[0]), [run]


def _latest_measured() -> Run:
    """Returns the latest run; the run of the shipped digits model is measured first if it has no results yet."""
    latest = runs.latest()
    if latest is not None and (latest.name != DEMO_RUN or latest.store_path.exists()):
        return latest
    from robustcsc.cli.evaluate import measure_sweep

    session = open_session(ModelChoice(), DataChoice(), "auto")
    note("Nothing has been measured yet: sweeping four noises on the digits first, which takes some seconds.")
    measure_sweep(session, DataChoice().load(session.trained, "test"), corruptions="noise")
    run: Run = session.run
    return run
