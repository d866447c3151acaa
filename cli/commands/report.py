"""`robustcsc report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from robustcsc import runs
from robustcsc.cli import options
from robustcsc.cli.console import note, print_json, progress_display
from robustcsc.cli.options import completion
from robustcsc.cli.render import print_section, print_tables
from robustcsc.measurements.datasets import check_asked


def report(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...",
            autocompletion=completion.run_names,
            help="Runs side by side; the latest run if none is given.",
        ),
    ] = None,
    run: options.Runs = None,
    title: Annotated[str | None, options.in_output(help="Title of the report.")] = None,
    paper: Annotated[
        Literal["sdnet", "detrame", "res-msd-csc", "tddl"] | None,
        options.in_output(help="Add this paper's tables, filled with what was measured beside what was printed."),
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
        options.in_output(
            metavar="FOLDER",
            callback=options.writable,
            help="Where to write; by default into the (first) run's folder.",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        options.in_output(
            "--html",
            metavar="FILE",
            callback=options.writable,
            help="Where to put a copy of the page, which needs no other file.",
        ),
    ] = None,
    examples: Annotated[
        int | None,
        options.in_output(
            "--examples",
            metavar="N",
            min=1,
            max=50,
            help="Make N example images of each run first (clean, corrupted, adversarial) with the model's answers; "
            "later reports show them, too.",
        ),
    ] = None,
    png: Annotated[bool, options.in_output("--png", help="Write figures as PNG, too, beside SVG.")] = False,
    data: options.Data = None,
    root: options.Root = None,
    class_order: options.ClassOrder = None,
    full: Annotated[bool, options.in_output("--full", help="Print all tables, not only the verdict.")] = False,
    as_json: options.Json = False,
) -> None:
    """Print the verdict on one or more runs and write all tables, figures and one HTML page.

    --data, --root and --class-order say where the images for --examples lie, if the run does not know.
    """
    for name in (*(names or ()), *(run or ())):
        runs.find(name)  # a mistake is told before torch is imported
    if baseline not in (None, "alexnet"):
        runs.find(baseline, others=("alexnet",))
    if data is not None:
        check_asked(data, class_order=class_order)

    from robustcsc.reports.summary.short import terminal_tables
    from robustcsc.session.choices import DataChoice
    from robustcsc.session.measuring import Measuring
    from robustcsc.session.reporting import report as write

    with progress_display() as progress:
        paths = write(
            [*(names or ()), *(run or ())],
            folder=out,
            html=html,
            title=title,
            paper=paper,
            baseline=baseline,
            examples=examples,
            png=png,
            data=DataChoice(data, root, class_order=class_order),
            measuring=Measuring(progress=progress, note=note),
        )
    if as_json:
        print_json({"page": paths.page, "records": paths.records, "tables": paths.tables, "figures": paths.figures})
        return
    verdict, *others = paths.sections
    print_section(verdict)
    asked = {*(["paper"] if paper else []), *(["errors"] if baseline else [])}
    whole = full or not verdict.tables
    print_tables(terminal_tables(it for it in others if whole or it.anchor in asked))
    more = "" if whole else "More tables: the same command with --full.\n"
    note(f"{more}All tables as CSV, Markdown and LaTeX, and all figures: {paths.folder}\nThe page: {paths.page}")
