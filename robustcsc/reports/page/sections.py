"""What a report shows, in order: the tables, charts and pictures of each section."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from robustcsc.measurements.examples import ExampleSheet
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.records import Record
from robustcsc.measurements.trainings import Training
from robustcsc.presentation.chart import Chart
from robustcsc.presentation.picture import Picture
from robustcsc.presentation.table import Table
from robustcsc.reports.attacks.adversarial import attack_list_tables, worst_case_tables
from robustcsc.reports.attacks.fooling import fooling_charts, fooling_tables
from robustcsc.reports.attacks.minimal import minimal_charts, minimal_tables
from robustcsc.reports.attacks.tables import epsilon_charts, epsilon_tables
from robustcsc.reports.cohorts.join import joined
from robustcsc.reports.comparisons.differences import by_severity, difference_tables, on_the_mean
from robustcsc.reports.comparisons.trainings import seed_tables, training_tables
from robustcsc.reports.corruptions.baselines import Baseline
from robustcsc.reports.corruptions.charts import heat_maps, lambda_charts, noise_charts, severity_charts
from robustcsc.reports.corruptions.corruption_errors import corruption_error_tables
from robustcsc.reports.corruptions.tables import clean_tables, corruption_tables, mean_tables
from robustcsc.reports.papers.names import Paper
from robustcsc.reports.papers.papers import paper_charts, paper_tables
from robustcsc.reports.summary.doubts import doubt_tables
from robustcsc.reports.summary.lambda_fits import fit_curve_charts, fit_tables, residual_charts
from robustcsc.reports.summary.provenance import command_tables, provenance_table
from robustcsc.reports.verdict.judge import verdicts
from robustcsc.reports.verdict.sentences import verdict_sentences
from robustcsc.reports.verdict.shown import verdict_charts, verdict_tables


@dataclass(frozen=True)
class Listing:
    """A text file to show as it is.

    Attributes:
        title: What it is.
        text: What is in it.
    """

    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a report is made from.

    Attributes:
        title: Its heading.
        records: What was measured, of any number of runs.
        fits: The lambda fits to show.
        trainings: How the measured models were trained, as far as that is known.
        paper: Adds this paper's tables and charts, its own figures in columns of their own.
        baseline: Whose errors the others are divided by (mCE); the records of a measured one are among `records`.
        pictures: Universal perturbations to show.
        examples: Images with predictions to show.
        experiments: The experiment files that the runs were measured with.
    """

    title: str
    records: Sequence[Record]
    fits: Sequence[LambdaFit] = ()
    trainings: Sequence[Training] = ()
    paper: Paper | None = None
    baseline: Baseline | None = None
    pictures: Sequence[Picture] = ()
    examples: Sequence[ExampleSheet] = ()
    experiments: Sequence[Listing] = ()


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it.

    Attributes:
        anchor: Where a page has it, and how the command line knows it.
        heading: The heading.
        sentences: What it says in words, before everything else.
        charts: The charts, which come before the tables.
        pictures: The pictures.
        tables: The tables.
        examples: Images with predictions.
        listings: Files as they are, which come last.
    """

    anchor: str
    heading: str
    sentences: Sequence[str] = ()
    charts: Sequence[Chart] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    examples: Sequence[ExampleSheet] = ()
    listings: Sequence[Listing] = ()


def report_sections(report: Report) -> list[Section]:
    """Returns the results, by section, the verdict first; sections that say nothing are left out.

    Raises:
        StoreError: Nothing in the records can be related to the baseline.
    """
    records = joined(report.records)
    fits, paper, trainings = report.fits, report.paper, report.trainings
    differences = difference_tables(records)
    sections = [
        verdict_section(records, trainings, report.baseline),
        Section("doubts", "Doubts: what speaks against all figures of a model", tables=doubt_tables(records)),
        Section(
            "means",
            "Corruptions: means",
            charts=[*heat_maps(records), *noise_charts(records)],
            tables=[*mean_tables(records), *clean_tables(records)],
        ),
        Section(
            "errors",
            "Corruption errors relative to a baseline",
            tables=corruption_error_tables(records, report.baseline) if report.baseline else (),
        ),
        Section("differences", "Who differs from whom", tables=list(map(on_the_mean, differences))),
        Section(
            "attacks",
            "Attacks",
            charts=[*epsilon_charts(records), *minimal_charts(records)],
            tables=[
                *worst_case_tables(records),
                *epsilon_tables(records),
                *attack_list_tables(records),
                *minimal_tables(records),
            ],
        ),
        Section(
            "fooling",
            "Universal perturbations and random noise",
            charts=fooling_charts(records),
            pictures=report.pictures,
            tables=fooling_tables(records),
        ),
        Section(
            "severity",
            "By severity",
            charts=[*severity_charts(records), *lambda_charts(records)],
            tables=[*corruption_tables(records), *by_severity(differences)],
        ),
        Section(
            "fits", "Lambda fits", charts=[*residual_charts(fits), *fit_curve_charts(fits)], tables=fit_tables(fits)
        ),
        Section(
            "trainings",
            "Trainings",
            tables=[*seed_tables(records, trainings), *training_tables(records, trainings)],
        ),
        Section(
            "paper",
            "The paper's tables",
            charts=paper_charts(paper, records, fits, trainings) if paper else (),
            tables=paper_tables(paper, records, trainings) if paper else (),
        ),
    ]
    return [section for section in sections if section.sentences or section.tables]


def verdict_section(
    records: Sequence[Record], trainings: Iterable[Training] = (), baseline: Baseline | None = None
) -> Section:
    """Returns the answer in ten seconds: two or three sentences, one chart and one small table for each data set."""
    found = verdicts(joined(records), trainings, baseline)
    sentences, charts = verdict_sentences(found), verdict_charts(found)
    return Section("verdict", "Verdict", sentences=sentences, charts=charts, tables=verdict_tables(found))


def closing_sections(report: Report) -> list[Section]:
    """Returns what stands behind the results: example images, and where every number comes from."""
    examples = Section("examples", "Example images", examples=report.examples)
    made = Section(
        "made",
        "How the numbers were made",
        tables=[provenance_table(report.records), *command_tables(report.records)],
        listings=report.experiments,
    )
    return [*([examples] if report.examples else []), made]
