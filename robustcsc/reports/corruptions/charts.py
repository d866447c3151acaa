"""Charts of accuracies on corrupted images: by severity, by noise, over lambda."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from robustcsc.measurements.policies import FixedLambda
from robustcsc.measurements.records import Record
from robustcsc.presentation.chart import (
    MOST_LINES,
    MOST_PANELS,
    Chart,
    Panel,
    grouped_points,
    left_out,
    levelled_series,
    numbered_series,
    percent_line,
)
from robustcsc.presentation.table import Estimate
from robustcsc.reports.cohorts.cells import curve_of, estimate
from robustcsc.reports.cohorts.cohorts import (
    Cohort,
    Labels,
    Rows,
    Series,
    Variant,
    by_cohort,
    corruptions_of,
    labels_of,
    pool,
    ranked,
    severities_of,
    without_fixed,
)
from robustcsc.reports.cohorts.words import NOISES, corruption_words

ACCURACY = "accuracy (%)"

Curves = Mapping[str, Mapping[float, Estimate]]
"""Lines by name: accuracies by lambda."""


def severity_charts(records: Sequence[Record]) -> list[Chart]:
    """Returns one chart per cohort: accuracy by severity, a panel per corruption, bands = 95 % intervals."""
    labels = labels_of(records)
    charts = []
    for cohort, settings in by_cohort(records).items():
        noisy = corruptions_of(settings)
        everyone = drawn(noisy.values())
        variants = everyone[:MOST_LINES]
        if not variants:
            continue
        names = [", ".join(labels[variant]) for variant in variants]
        panels = tuple(_severity_panel(name, rows, variants) for name, rows in noisy.items())
        described = f"{len(noisy)} panels ({', '.join(map(corruption_words, noisy))}), lines: {'; '.join(names)}."
        charts.append(
            Chart(
                name=cohort.file_name("severity"),
                title=f"Accuracy by severity: {cohort.title}",
                description=described + left_out(len(everyone), MOST_LINES, "lines"),
                panels=panels,
                series=numbered_series(names),
                same_heights=True,
            )
        )
    return charts


def _severity_panel(name: str, rows: Rows, variants: Sequence[Variant]) -> Panel:
    lines = tuple(percent_line(at, curve_of(rows[it])) for at, it in enumerate(variants) if rows.get(it))
    return Panel(corruption_words(name), "severity", ACCURACY, lines, ticks=tuple(severities_of(rows.values())))


def noise_charts(records: Sequence[Record]) -> list[Chart]:
    """Returns one chart per cohort: mean over severities of each noise family and of all together."""
    labels = labels_of(records)
    charts = []
    for cohort, settings in by_cohort(records).items():
        noisy = {name: rows for name, rows in corruptions_of(settings).items() if name in NOISES}
        if variants := drawn(noisy.values()):
            charts.append(_noise_chart(cohort, noisy, variants, labels))
    return charts


def _noise_chart(cohort: Cohort, noisy: Mapping[str, Rows], variants: Sequence[Variant], labels: Labels) -> Chart:
    groups = {corruption_words(name): [name] for name in noisy}
    groups |= {f"all {len(noisy)}": list(noisy)} if len(noisy) > 1 else {}
    wanted = {name: severities_of(rows.values()) for name, rows in noisy.items()}
    points = {}
    for variant in variants:
        parts = {name: (rows.get(variant, {}), wanted[name]) for name, rows in noisy.items()}
        points[", ".join(labels[variant])] = [
            estimate(pool([parts[name] for name in members])) for members in groups.values()
        ]
    return grouped_points(
        cohort.file_name("noises"),
        f"Noise families: {cohort.title}",
        f"Mean accuracy over severities for {', '.join(groups)}.",
        ACCURACY,
        list(groups),
        points,
    )


def lambda_charts(
    records: Sequence[Record],
    name: str = "lambda",
    title: str = "Accuracy over lambda",
    corruptions: Collection[str] = (),
    most: int | None = None,
) -> list[Chart]:
    """Returns one chart per cohort and run: accuracy over fixed lambdas, a line per severity (SDNet, Figure 2).

    A marker shows the best lambda of each severity. Corruptions with fewer than two lambdas are left out.

    Args:
        records: What was measured.
        name: Names of files begin with this.
        title: Titles begin with this.
        corruptions: Those that are shown; of none all.
        most: Most charts of a cohort; by default as many as fit in.
    """
    labels = labels_of(records)
    charts = []
    for cohort, settings in by_cohort(records).items():
        runs: dict[str, dict[str, Curves]] = defaultdict(dict)
        noisy = corruptions_of(settings)
        for corruption in (it for it in noisy if it in (corruptions or noisy)):
            for run, by_lambda in _lambda_series(noisy[corruption], labels).items():
                runs[run][corruption_words(corruption)] = _lambda_curves(by_lambda)
        fit_in = most or max(1, MOST_PANELS // max(map(len, runs.values()), default=1))
        more = left_out(len(runs), fit_in, "runs")
        for run in sorted(runs)[:fit_in]:
            charts.append(lambda_chart(cohort.file_name(name, run), f"{title}: {run}, {cohort.title}", runs[run], more))
    return charts


def _lambda_series(rows: Rows, labels: Labels) -> dict[str, dict[float, Series]]:
    """Returns by run (in words) what was measured at each fixed lambda, where a severity has two of them."""
    found: dict[str, dict[float, Series]] = defaultdict(dict)
    for variant, measured in rows.items():
        if isinstance(variant.policy, FixedLambda):
            found[labels[variant][0]][variant.policy.value] = measured
    counts = {run: Counter(severity for series in of.values() for severity in series) for run, of in found.items()}
    return {run: of for run, of in found.items() if max(counts[run].values()) > 1}


def _lambda_curves(by_lambda: Mapping[float, Series]) -> Curves:
    """Returns the accuracies over lambda by severity, where there are at least two."""
    curves = {
        f"severity {severity}": curve_of(
            {lam: series[severity] for lam, series in by_lambda.items() if severity in series}
        )
        for severity in severities_of(by_lambda.values())
    }
    return {name: curve for name, curve in curves.items() if len(curve) > 1}


def lambda_chart(name: str, title: str, noises: Mapping[str, Curves], more: str = "") -> Chart:
    """Returns a chart of accuracies over lambda: a panel per noise, a line per level whose best lambda is marked.

    Args:
        name: As in `Chart`.
        title: As in `Chart`.
        noises: The lines by noise and level.
        more: Is added to the description.
    """
    lines = list(dict.fromkeys(label for curves in noises.values() for label in curves))
    panels = tuple(
        Panel(
            noise,
            "lambda",
            ACCURACY,
            tuple(percent_line(lines.index(label), curve, mark_best=True) for label, curve in curves.items()),
        )
        for noise, curves in noises.items()
    )
    described = f"Panels: {', '.join(noises)}; lines: {'; '.join(lines)}; a marker shows each line's best lambda.{more}"
    return Chart(name, title, described, panels, levelled_series(lines), same_heights=True)


def drawn(rows: Iterable[Rows]) -> list[Variant]:
    """Returns whose lines are drawn, in their order."""
    return without_fixed(ranked(variant for by_variant in rows for variant in by_variant))
