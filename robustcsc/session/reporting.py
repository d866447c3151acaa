"""Reports on runs: tables, figures and one page of what is in their stores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from robustcsc import runs
from robustcsc.files import PARTIAL, check_writable, write_whole
from robustcsc.locks import PATIENCE, alone
from robustcsc.measurements.examples import ExampleSheet, read_examples
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.perturbations import Corruption
from robustcsc.measurements.records import PRECISIONS, Record
from robustcsc.measurements.store import ResultStore
from robustcsc.presentation.csv_table import csv_text
from robustcsc.presentation.drawn_chart import draw
from robustcsc.reports.attacks.fooling import perturbation_pictures
from robustcsc.reports.cohorts.cohorts import of_kinds
from robustcsc.reports.corruptions.baselines import ALEXNET_NAME, PUBLISHED_ALEXNET, Baseline, measured_baseline
from robustcsc.reports.page.build import ReportPaths, check_folder, write_report
from robustcsc.reports.page.sections import Listing, Report
from robustcsc.reports.papers.names import Paper
from robustcsc.reports.summary.lambda_fits import fit_curve_charts, fit_tables, residual_charts
from robustcsc.runs import DEMO_RUN, Run
from robustcsc.session.choices import DataChoice, run_of, written
from robustcsc.session.measuring import Measuring
from robustcsc.session.results import keep_results, measured_records

if TYPE_CHECKING:  # only what measures needs torch
    from robustcsc.session.session import Session


# Each parameter is a choice of its own that a user makes by name.
def report(
    of: Sequence[Session | Run | str] = (),
    *,
    folder: str | Path | None = None,
    html: str | Path | None = None,
    title: str | None = None,
    paper: Paper | None = None,
    baseline: str | None = None,
    examples: int | None = None,
    png: bool = False,
    data: DataChoice | None = None,
    measuring: Measuring | None = None,
) -> ReportPaths:
    """Writes a report on runs side by side, and returns where its parts lie.

    Args:
        of: Sessions, runs or names of runs, each shown once; the latest run if there are none.
        folder: Where the report goes; by default into the first run's folder.
        html: Where a copy of the page goes, which needs no other file.
        title: Heading of the report.
        paper: Adds this paper's tables, its own figures in columns of their own.
        baseline: Name of the run whose errors on corrupted images the others are divided by (mCE), which joins the
            report, or ``"alexnet"`` for the published ones on ImageNet-C.
        examples: How many test images of each run to keep first, clean, corrupted and attacked, with the model's
            answers; later reports show them, too.
        png: Whether figures are written as PNG, too, beside SVG.
        data: Where the images for the examples lie, if the runs do not say it.
        measuring: How the shipped model is measured where nothing has been measured yet.

    Raises:
        StoreError: A run does not exist or has no results, nothing in them can be related to the baseline, or the
            report cannot be written.
        RobustCSCError: The images for examples cannot be read.

    Examples:
        >>> import robustcsc as rc
        >>> sdnet = rc.open("sdnet-digits")
        >>> measured = sdnet.evaluate(sdnet.images(limit=50))
        >>> paths = rc.report([sdnet], folder="out", title="Digits")
        >>> paths.folder.name, paths.page.name, paths.page.exists()
        ('out', 'index.html', True)
    """
    if html is not None:
        check_writable(Path(html), "The page", folder=False)
    if folder is not None:
        check_folder(Path(folder))
    related, joining = _related(baseline)
    once: dict[Path, Run] = {}
    for run in ([run_of(it) for it in of] or [_latest_measured(data, measuring or Measuring())]) + joining:
        once.setdefault(run.folder.resolve(), run)
    chosen = list(once.values())
    if folder is None:
        check_folder(chosen[0].reports)
    records, fits = collected(chosen)
    sheets = {}
    if examples is not None:
        opened = {it.run: it for it in of if not isinstance(it, Run | str)}
        for run in chosen:
            sheets[run.folder] = _examples(opened.get(run) or run, examples, data, measuring)
    paths = write_report(
        Report(
            title=title or f"Robustness of {', '.join(run.name for run in chosen)}",
            records=records,
            fits=fits,
            trainings=runs.trainings(chosen),
            paper=paper,
            baseline=related,
            pictures=perturbation_pictures(records, {run.name: run.folder for run in chosen}),
            examples=[sheet for run in chosen if (sheet := sheets.get(run.folder) or read_examples(run.folder))],
            experiments=_experiments(chosen),
        ),
        Path(folder or chosen[0].reports),
        png=png,
    )
    for place, sheet in sheets.items():
        with written(Run(place)):
            sheet.save(place)
    if html is not None:
        write_whole(Path(html), paths.page.read_bytes())
    return paths


def keep_fit_tables(run: Run) -> None:
    """Writes the tables of the lambda fits of a run as CSV, and their charts as PNG, beside the fits."""
    place, doing = run.fit_path("tables"), f"The tables of the lambda fits of run {run.name!r} are being written"
    with written(run), alone(place, doing, "choose another --run", patience=PATIENCE):
        fits = _fits(run)
        for table in fit_tables(fits):
            write_whole(place.with_name(f"{table.name}.csv"), csv_text(table).encode())
        for chart in (*residual_charts(fits), *fit_curve_charts(fits)):
            write_whole(place.with_name(f"{chart.name}.png"), draw(chart).to_png())


def collected(chosen: Sequence[Run]) -> tuple[list[Record], list[LambdaFit]]:
    """Returns all records and lambda fits of the runs.

    Raises:
        StoreError: A run has no records.
    """
    records: list[Record] = []
    fits: list[LambdaFit] = []
    for run in chosen:
        records += measured_records(run, "report")
        fits += _fits(run)
    return records, fits


def _fits(run: Run) -> list[LambdaFit]:
    return [LambdaFit.load(path) for precision in PRECISIONS for path in run.fit_paths(precision).values()]


def _experiments(chosen: Sequence[Run]) -> list[Listing]:
    """Returns the experiment files that runs were measured with, each once."""
    found: dict[tuple[str, str], list[str]] = {}
    for run in chosen:
        for path in sorted(it for it in run.experiments.glob("*") if it.suffix != PARTIAL):
            found.setdefault((path.name, path.read_text("utf-8")), []).append(run.name)
    return [Listing(f"The file {name}: {', '.join(names)}", text) for (name, text), names in found.items()]


def _examples(of: Session | Run, count: int, data: DataChoice | None, measuring: Measuring | None) -> ExampleSheet:
    from robustcsc.evaluation.examples import make_examples
    from robustcsc.session.opening import open as open_session

    session = open_session(of.folder, data=data, measuring=measuring) if isinstance(of, Run) else of
    spec, images = session.severity_table(), session.images()
    return make_examples(session.model.answering(images), images, count=count, spec=spec)


def _related(name: str | None) -> tuple[Baseline | None, list[Run]]:
    """Returns the baseline called `name`, and its run if it is one."""
    if name is None:
        return None, []
    if name == ALEXNET_NAME:
        return PUBLISHED_ALEXNET, []
    run = runs.find(name, others=(ALEXNET_NAME,))
    return measured_baseline(run.name, collected([run])[0]), [run]


def _latest_measured(data: DataChoice | None, measuring: Measuring) -> Run:
    """Returns the latest run; that of the shipped model for textures is measured under noise first, if it was not."""
    latest = runs.latest()
    if latest is not None and (latest.name != DEMO_RUN or _met_noise(latest)):
        return latest
    from robustcsc.session.opening import open as open_session

    session = open_session(data=data, measuring=measuring)
    measuring.note(
        "Nothing has been measured under noise yet: fitting lambda and sweeping four noises, in under a minute."
    )
    if not session.model.fits:
        session.fit_lambda()
    session.sweep(corruptions="noise")
    keep_results(session.run)
    return session.run


def _met_noise(run: Run) -> bool:
    with ResultStore(run.store_path, read_only=True) as store:
        return bool(of_kinds(store.records(), Corruption))
