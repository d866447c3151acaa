"""Fooling rates: universal perturbations beside random ones, and random noise, as tables, charts and pictures.

Source: DeTraMe-Net (Tang et al., "Deep Transform and Metric Learning Network"), table 6 and figures 3 and 4.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from robustcsc.measurements.facts import replace
from robustcsc.measurements.perturbations import Crafting, Perturbation, RandomControl, RandomNoise, Universal
from robustcsc.measurements.records import CraftingDetails, Metric, Precision, Record
from robustcsc.measurements.statistics import Score, SeedScores
from robustcsc.measurements.threats import Norm, ThreatModel
from robustcsc.presentation.chart import MOST_LINES, Chart, line_chart
from robustcsc.presentation.picture import Picture
from robustcsc.presentation.table import Cell, Column, Estimate, Table, Worded
from robustcsc.presentation.words import About, Title, slug
from robustcsc.reports.cohorts.cells import WHO, estimate, over_seeds, percentages, rate_of
from robustcsc.reports.cohorts.cohorts import (
    Cohort,
    Labels,
    Variant,
    labels_of,
    of_kinds,
    of_newest_fit,
    score,
)
from robustcsc.reports.cohorts.settings import setting_of
from robustcsc.reports.cohorts.words import (
    about_precision,
    attack_words,
    epsilon_words,
    norm_words,
    policy_words,
    precision_words,
    protocol_rank,
    protocol_words,
    threat_words,
    with_protocol,
)

METRICS = (Metric.FOOLING, Metric.FOOLING_OF_CORRECT)
Kinds = tuple[type[Perturbation], ...]
UNIVERSAL: Kinds = (Universal, RandomControl)
NOISE: Kinds = (RandomNoise,)

_RATES = (
    "Fooling rates in percent: predictions that differ from those for the clean images, over all images and over those "
    "classified as labelled when clean. One seed: with the 95 % Wilson interval. Several: mean ± standard deviation."
)
_CONTROLS = (
    "Random signs and Gaussian: random perturbations of norm xi, the controls. UAP: crafted on training images. Images "
    "are clamped to [0, 1]; xi is in pixel units of [0, 1]."
)
_ENERGY = "Gaussian noise v with E||v||^2 = rho||x||^2 for each image x; noisy images are clamped to [0, 1]."
_RATE_COLUMNS = tuple(Column(metric, percent=True, show_seeds=True) for metric in METRICS)
_COLUMNS = (
    *(*WHO, *map(Column, ("how the attack met lambda", "perturbation", "norm", "xi")), *_RATE_COLUMNS),
    *(Column("crafting images"), Column("fooled of them", percent=True), Column("passes"), Column("converged")),
    Column("seconds", digits=1),
)

Scored = tuple[str, str, str, Precision]
"""Data set, split and fingerprint of the images that rates are of, and precision: what rows of one table share."""


class Change(NamedTuple):
    """Whose predictions were changed, and how; the seeds of one change are averaged."""

    variant: Variant
    made: Universal | RandomControl | RandomNoise

    @property
    def size(self) -> float:
        """The radius xi, or rho."""
        return self.made.rho if isinstance(self.made, RandomNoise) else self.made.threat.epsilon

    @property
    def norm(self) -> Norm | None:
        """The norm of xi; ``None`` for rho."""
        return None if isinstance(self.made, RandomNoise) else self.made.threat.norm

    @property
    def rank(self) -> tuple[object, ...]:
        """Sorting key of table rows: by size, variant and protocol; the UAP, random signs, Gaussian."""
        made, first = self.made, (self.norm or "", self.size, self.variant.rank)
        match made:
            case RandomNoise():
                return first
            case RandomControl():
                return (*first, protocol_rank(made), 1 + (made.name == "gaussian"))
            case Universal():
                return (*first, protocol_rank(made), 0, crafting_words(made.crafting), made.crafting.passes)

    @property
    def curve(self) -> Change:
        """What the points of one line share."""
        size = {"rho": 0.0} if isinstance(self.made, RandomNoise) else {"threat": ThreatModel("linf", 0.0)}
        return Change(self.variant, replace(self.made, **size))


Measured = Mapping[Metric, Sequence[Record]]
"""The records of one change by metric, one per seed."""


def crafting_words(crafting: Crafting) -> str:
    """Returns in words what a universal perturbation was crafted on, and how."""
    images = f"{crafting.count} train images ({crafting.images})"
    return f"crafted on {images}, delta {crafting.delta:g}, batches of {crafting.batch_size}"


def fooling_tables(records: Sequence[Record]) -> list[Table]:
    """Returns per data set, split and images one table of universal perturbations and one of random noise."""
    labels = labels_of(records)
    tables = [_universal_table(scored, rows, labels) for scored, rows in changed_by(records, UNIVERSAL).items()]
    for scored, rows in changed_by(records, NOISE).items():
        cells = tuple((*labels[change.variant], change.size, *_rates(found)) for change, found in rows.items())
        columns = (*WHO, Column("rho"), *_RATE_COLUMNS)
        title = _title("Random noise", scored, rows)
        tables.append(Table(slug("random-noise", *scored[:2], key=scored), title, columns, cells, (_RATES, _ENERGY)))
    return tables


def fooling_charts(records: Sequence[Record]) -> list[Chart]:
    """Returns fooling rates over xi, a panel per norm, and over rho, with a line per model and perturbation.

    Bands are 95 % intervals on the images of one seed. Charts of fewer than two sizes are left out.
    """
    labels = labels_of(records)
    charts = []
    for kinds, file, axis in ((UNIVERSAL, "fooling-uap", "xi"), (NOISE, "fooling-noise", "rho")):
        for scored, rows in changed_by(records, kinds).items():
            if len({change.size for change in rows}) > 1:
                name = slug(file, *scored[:2], key=scored)
                charts.append(_chart(name, _title(f"Fooling rate over {axis}", scored, rows), axis, rows, labels))
    return charts


def changed_by(records: Iterable[Record], kinds: Kinds) -> dict[Scored, dict[Change, Measured]]:
    """Returns the records to show by images and change; of several lambda fits of a change the newest counts."""
    found: dict[Scored, dict[Change, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in of_kinds(records, *kinds):
        it, made = record.measurement, setting_of(record.measurement.perturbation)
        if it.metric in METRICS and isinstance(made, Universal | RandomControl | RandomNoise):
            scored = (it.images.dataset, it.images.split, it.images.fingerprint, it.precision)
            found[scored][Change(Variant.of(record), made)].append(record)
    return {
        scored: {change: _by_metric(found[scored][change]) for change in sorted(found[scored], key=lambda it: it.rank)}
        for scored in sorted(found)
    }


def _by_metric(records: Sequence[Record]) -> Measured:
    seeds: dict[Metric, dict[int, Record]] = {metric: {} for metric in METRICS}
    for record in of_newest_fit(records):
        seeds[record.measurement.metric][Cohort.of(record).seed] = record
    return {metric: [by_seed[seed] for seed in sorted(by_seed)] for metric, by_seed in seeds.items()}


def _universal_table(scored: Scored, rows: Mapping[Change, Measured], labels: Labels) -> Table:
    crafted = {it: crafting_words(it.made.crafting) for it in rows if isinstance(it.made, Universal)}
    ways = sorted(set(crafted.values()))
    cells: list[tuple[Cell, ...]] = []
    for change, found in rows.items():
        variant, made = change
        if not isinstance(made, RandomNoise):
            xi = Worded(made.threat.epsilon, epsilon_words(made.threat.epsilon))
            words = (protocol_words(made, variant.policy), attack_words(made, budget=False))
            how = (*words, norm_words(made.threat.norm), xi)
            way = (crafted.get(change),) if len(ways) > 1 else ()
            cells.append((*labels[variant], *how, *_rates(found), *_crafting(found[Metric.FOOLING]), *way))
    return Table(
        name=slug("uap", *scored[:2], key=scored),
        title=_title("Universal perturbations", scored, rows),
        columns=(*_COLUMNS, Column("crafting")) if len(ways) > 1 else _COLUMNS,
        rows=tuple(cells),
        notes=(_RATES, _CONTROLS, *(f"UAP {words}." for words in ways if len(ways) == 1)),
    )


def _crafting(records: Sequence[Record]) -> tuple[Cell, ...]:
    """Returns crafting images, share of them fooled, passes, convergence and seconds; of several seeds each."""
    seeds: list[tuple[Cell, ...]] = []
    for record in records:
        made, it = record.measurement.perturbation, record.details
        if isinstance(made, Universal) and isinstance(it, CraftingDetails):
            count = made.crafting.count
            seeds.append((count, it.fooled / count, it.passes, it.converged, record.provenance.seconds))
    columns = _COLUMNS[-5:]
    return tuple(map(_each_seed, columns, zip(*seeds, strict=True))) if seeds else (None,) * len(columns)


def _each_seed(column: Column, cells: Sequence[Cell]) -> Cell:
    """Returns the cells of several seeds as one."""
    words = [column.text(cell) for cell in cells]
    return cells[0] if len(set(words)) == 1 else Worded(None, " / ".join(words))


def _rates(found: Measured) -> tuple[Cell, ...]:
    scores = (tuple(map(score, found[metric])) for metric in METRICS)
    return tuple(over_seeds(SeedScores(it)) if it else None for it in scores)


def _chart(name: str, title: str, axis: str, rows: Mapping[Change, Measured], labels: Labels) -> Chart:
    lines: dict[Change, str] = {}
    for change in sorted(rows, key=lambda it: (it.variant.rank, it.rank)):
        made, words = change.made, ", ".join(labels[change.variant])
        if not isinstance(made, RandomNoise):
            words = with_protocol(f"{words}, {attack_words(made, budget=False)}", made)
        lines.setdefault(change.curve, words)
    panels: dict[Norm | None, dict[Change, dict[float, Estimate]]] = defaultdict(lambda: defaultdict(dict))
    for change in (it for it in rows if it.curve in list(lines)[:MOST_LINES]):
        points, seeds = panels[change.norm][change.curve], list(map(score, rows[change][Metric.FOOLING]))
        if seeds and (rate := estimate(Score.mean_of(seeds))):
            points[change.size] = rate
    headed = {norm_words(it) if it else "": panels[it] for it in sorted(panels, key=str, reverse=True)}
    return line_chart(name, title, f"Fooling rate over {axis};", (axis, "fooling rate (%)"), lines, headed)


def _title(words: str, scored: Scored, rows: Mapping[Change, Measured]) -> Title:
    dataset, split, images, precision = scored
    counts = sorted({record.total for found in rows.values() for record in found[Metric.FOOLING]})
    data, count = f"{dataset} {split}", f"{' or '.join(map(str, counts))} images"
    about = (About("data", data, data), About("images", count, f"{count} ({images})"), about_precision(precision))
    return Title(words, about)


def perturbation_pictures(records: Sequence[Record], folders: Mapping[str, Path]) -> list[Picture]:
    """Returns the picture of every universal perturbation whose file still lies beside the results of its run.

    Args:
        records: What was measured.
        folders: The folders of the runs by name.
    """
    found: dict[tuple[str, float, str], tuple[Universal, Record]] = {}
    for record in records:
        it, made = record.measurement, record.measurement.perturbation
        if isinstance(made, Universal) and isinstance(record.details, CraftingDetails) and it.metric is Metric.FOOLING:
            found.setdefault((it.subject.run, made.threat.epsilon, record.details.file), (made, record))
    pictures = []
    for (run, _, file), (made, record) in sorted(found.items(), key=lambda item: item[0]):
        path = folders[run] / "perturbations" / Path(file).with_suffix(".png").name if run in folders and file else None
        if path is not None and path.is_file():
            pictures.append(_picture(made, record, path.read_bytes()))
    return pictures


def _picture(made: Universal, record: Record, png: bytes) -> Picture:
    it, (column,) = record.measurement, percentages([record.measurement.metric])
    return Picture(
        name=slug("perturbation", it.subject.run, key=(it.key,)),
        title=f"{it.subject.run}, {policy_words(it.policy)}, {threat_words(made.threat)}, seed {made.crafting.seed}"
        + "".join(f", {words}" for words in precision_words(it.precision)),
        description=f"Added to every image, it changes {column.text(rate_of(record))} % of the predictions. Grey "
        f"is zero; the caption in the picture has the scale. It was {crafting_words(made.crafting)}.",
        png=png,
    )
