"""Reports: tables, figures and one page, all pure functions of records and lambda fits."""

from robustcsc.report.baselines import ALEXNET_NAME, PUBLISHED_ALEXNET, Baseline, measured_baseline
from robustcsc.report.build import ReportPaths, report_sections, write_report
from robustcsc.report.corruption_errors import corruption_error_tables, severity_tables
from robustcsc.report.detrame_tables import detrame_tables
from robustcsc.report.figures import Plot
from robustcsc.report.fooling import fooling_frame, fooling_plots, fooling_tables
from robustcsc.report.frame import accuracy_frame, records_frame
from robustcsc.report.gains import Gain, gain_tables
from robustcsc.report.headline import headline_tables
from robustcsc.report.join import joined
from robustcsc.report.papers import PAPER_SDNET, paper_tables
from robustcsc.report.plots import (
    all_plots,
    fit_curve_plots,
    lambda_plots,
    noise_plots,
    residual_plots,
    severity_plots,
)
from robustcsc.report.provenance import fit_tables, provenance_table
from robustcsc.report.table import Table
from robustcsc.report.tables import attack_tables, corruption_tables, mean_tables
from robustcsc.report.trainings import TrainedModel, Training, seed_tables, trained_models

__all__ = [
    "ALEXNET_NAME",
    "PAPER_SDNET",
    "PUBLISHED_ALEXNET",
    "Baseline",
    "Gain",
    "Plot",
    "ReportPaths",
    "Table",
    "TrainedModel",
    "Training",
    "accuracy_frame",
    "all_plots",
    "attack_tables",
    "corruption_error_tables",
    "corruption_tables",
    "detrame_tables",
    "fit_curve_plots",
    "fit_tables",
    "fooling_frame",
    "fooling_plots",
    "fooling_tables",
    "gain_tables",
    "headline_tables",
    "joined",
    "lambda_plots",
    "mean_tables",
    "measured_baseline",
    "noise_plots",
    "paper_tables",
    "provenance_table",
    "records_frame",
    "report_sections",
    "residual_plots",
    "seed_tables",
    "severity_plots",
    "severity_tables",
    "trained_models",
    "write_report",
]
