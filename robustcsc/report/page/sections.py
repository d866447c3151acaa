"""What a report shows, in order: the tables and figures of each section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robustcsc.measurements.trainings import Training
from robustcsc.records import Record
from robustcsc.report.adversarial import attack_list_tables, worst_case_tables
from robustcsc.report.baselines import Baseline
from robustcsc.report.commands import command_tables
from robustcsc.report.corruption_errors import corruption_error_tables, severity_tables
from robustcsc.report.epsilon_curves import epsilon_plots, epsilon_tables
from robustcsc.report.figures import Plot
from robustcsc.report.flags import flag_tables
from robustcsc.report.fooling import fooling_plots, fooling_tables
from robustcsc.report.gains import gain_tables
from robustcsc.report.headline import headline_plots, headline_tables
from robustcsc.report.heat_maps import heat_maps
from robustcsc.report.join import joined
from robustcsc.report.minimal import minimal_plots, minimal_tables
from robustcsc.report.paired import paired_tables
from robustcsc.report.paper_figures import paper_plots
from robustcsc.report.papers import Paper, paper_tables
from robustcsc.report.plots import fit_curve_plots, lambda_plots, noise_plots, residual_plots, severity_plots
from robustcsc.report.provenance import fit_tables, provenance_table
from robustcsc.report.table import Table
from robustcsc.report.tables import attack_tables, corruption_tables, mean_tables
from robustcsc.report.trainings import seed_tables, trained_models

if TYPE_CHECKING:  # reports need no torch
    from robustcsc.measurements.fits import LambdaFit


@dataclass(frozen=True)
class Section:
    """A heading and its tables.

    Attributes:
        anchor: Where a page has it, and how the command line knows it.
        heading: The heading.
        tables: The tables.
        short: The heading in a row of links.
    """

    anchor: str
    heading: str
    tables: tuple[Table, ...]
    short: str = ""

    def __post_init__(self) -> None:
        if not self.short:
            object.__setattr__(self, "short", self.heading)


def report_sections(
    records: Sequence[Record],
    fits: Sequence[LambdaFit],
    *,
    trainings: Sequence[Training] = (),
    paper: Paper | None = None,
    baseline: Baseline | None = None,
) -> list[Section]:
    """Returns all tables of a report, by section.

    Args:
        records: What was measured, of any number of runs.
        fits: The lambda fits to show.
        trainings: How the measured models were trained, as far as that is known.
        paper: Adds this paper's tables, its own figures in columns of their own.
        baseline: Whose errors the others are divided by (mCE); the records of a measured one are among `records`.

    Raises:
        StoreError: Nothing in `records` can be related to the baseline.
    """
    records = joined(records)
    models = trained_models(records, trainings)
    laid_out = paper_tables(paper, records, trainings) if paper else []
    sections = [
        Section("headline", "Headline", tuple(headline_tables(records))),
        Section("flags", "Flags: what speaks against attack figures", tuple(flag_tables(records)), "Flags"),
        Section("means", "Corruptions: means", tuple(mean_tables(records)), "Corruptions"),
        Section("errors", "Corruption errors", tuple(corruption_error_tables(records, baseline)), "mCE"),
        Section("gains", "What the adaptive lambda gains", tuple(gain_tables(records)), "Gains"),
        Section("paired", "Models side by side, image by image", tuple(paired_tables(records)), "Side by side"),
        Section(
            "attacks",
            "Attacks",
            (
                *worst_case_tables(records),
                *attack_tables(records),
                *epsilon_tables(records),
                *attack_list_tables(records),
                *minimal_tables(records),
            ),
        ),
        Section("fooling", "Universal perturbations and random noise", tuple(fooling_tables(records)), "Fooling"),
        Section(
            "severity",
            "By severity",
            (*severity_tables(records), *corruption_tables(records)),
        ),
        Section("fits", "Lambda fits", tuple(fit_tables(fits))),
        Section("seeds", "Models over training seeds", tuple(seed_tables(models)), "Seeds"),
        Section("paper", "The paper's tables", tuple(laid_out), "Paper"),
    ]
    return [section for section in sections if section.tables]


def made_section(records: Sequence[Record]) -> Section:
    """Returns where every number comes from: weights, versions, devices, and the commands."""
    return Section("made", "How the numbers were made", (provenance_table(records), *command_tables(records)))


def report_plots(
    records: Sequence[Record],
    fits: Sequence[LambdaFit],
    paper: Paper | None = None,
    trainings: Sequence[Training] = (),
) -> Mapping[str, list[Plot]]:
    """Returns every figure the records and fits allow, by the anchor of the section it stands in.

    Args:
        records: What was measured, of any number of runs.
        fits: The lambda fits to show.
        paper: Adds this paper's figures.
        trainings: How the measured models were trained, as far as that is known.
    """
    records = joined(records)
    return {
        "headline": headline_plots(records),
        "means": [*heat_maps(records), *noise_plots(records)],
        "attacks": [*epsilon_plots(records), *minimal_plots(records)],
        "fooling": fooling_plots(records),
        "severity": [*severity_plots(records), *lambda_plots(records)],
        "fits": [*residual_plots(fits), *fit_curve_plots(fits)],
        "paper": paper_plots(paper, records, fits, trainings) if paper else [],
    }
