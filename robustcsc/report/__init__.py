"""Reports: tables, figures and one page, all pure functions of records and lambda fits."""

from robustcsc.report.baselines import ALEXNET_NAME, PUBLISHED_ALEXNET, Baseline, measured_baseline
from robustcsc.report.build import ReportPaths, write_report
from robustcsc.report.corruption_errors import corruption_error_tables, severity_tables
from robustcsc.report.epsilon_curves import epsilon_plots
from robustcsc.report.examples import ExampleSheet, read_examples
from robustcsc.report.figures import Plot
from robustcsc.report.flags import flag_tables
from robustcsc.report.fooling import fooling_frame, fooling_plots, fooling_tables
from robustcsc.report.frame import accuracy_frame, records_frame
from robustcsc.report.gains import gain_tables
from robustcsc.report.headline import headline_plots, headline_tables
from robustcsc.report.heat_maps import heat_maps
from robustcsc.report.join import joined
from robustcsc.report.leaderboard import Board, leaderboards
from robustcsc.report.paired import paired_tables
from robustcsc.report.paper_figures import paper_plots
from robustcsc.report.papers import Paper, paper_tables
from robustcsc.report.pictures import Picture, perturbation_pictures
from robustcsc.report.plots import (
    all_plots,
    fit_curve_plots,
    lambda_plots,
    noise_plots,
    residual_plots,
    severity_plots,
)
from robustcsc.report.provenance import fit_tables, provenance_table
from robustcsc.report.sections import Section, report_plots, report_sections
from robustcsc.report.table import Table
from robustcsc.report.tables import attack_tables, corruption_tables, mean_tables
from robustcsc.report.trainings import TrainedModel, seed_tables, trained_models

__all__ = [
    "ALEXNET_NAME",
    "PUBLISHED_ALEXNET",
    "Baseline",
    "Board",
    "ExampleSheet",
    "Paper",
    "Picture",
    "Plot",
    "ReportPaths",
    "Section",
    "Table",
    "TrainedModel",
    "accuracy_frame",
    "all_plots",
    "attack_tables",
    "corruption_error_tables",
    "corruption_tables",
    "epsilon_plots",
    "fit_curve_plots",
    "fit_tables",
    "flag_tables",
    "fooling_frame",
    "fooling_plots",
    "fooling_tables",
    "gain_tables",
    "headline_plots",
    "headline_tables",
    "heat_maps",
    "joined",
    "lambda_plots",
    "leaderboards",
    "mean_tables",
    "measured_baseline",
    "noise_plots",
    "paired_tables",
    "paper_plots",
    "paper_tables",
    "perturbation_pictures",
    "provenance_table",
    "read_examples",
    "records_frame",
    "report_plots",
    "report_sections",
    "residual_plots",
    "seed_tables",
    "severity_plots",
    "severity_tables",
    "trained_models",
    "write_report",
]
