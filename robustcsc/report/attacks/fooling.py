"""Fooling rates: universal perturbations beside random ones, and random noise, as tables, curves and one data frame.

Source: DeTraMe-Net (Tang et al., "Deep Transform and Metric Learning Network"), table 6 and figures 3 and 4.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import pandas as pd
from matplotlib.artist import Artist

from robustcsc.measurements.statistics import Score
from robustcsc.records import FOOLING, FOOLING_OF_CORRECT, Record
from robustcsc.report.cohorts import Subject, of_kinds
from robustcsc.report.figures import Plot, draw_line, legend_below, legend_rows, panels, share_heights, title_panel
from robustcsc.report.table import Table
from robustcsc.report.tables import Labels, labels_of
from robustcsc.report.words import MISSING, epsilon_words, norm_words, protocol_rank, protocol_words, score_words, slug

METRICS = (FOOLING, FOOLING_OF_CORRECT)
#: Kinds of records that count changed predictions, by what they stand together in.
UNIVERSAL, NOISE = ("uap", "uap-control"), ("random-noise",)
KINDS = (*UNIVERSAL, *NOISE)

_WIDTH = 6.8
"""Inches: two entries of the legend side by side."""

_NAMES = {"uap": "UAP", "random-sign": "random signs", "gaussian": "Gaussian"}
_RATES = (
    "Fooling rates in percent: predictions that differ from those for the clean images, over all images and over those "
    "classified as labelled when clean. One seed: with the 95 % Wilson interval. Several: mean ± standard deviation."
)
_CONTROLS = (
    "Random signs and Gaussian: random perturbations of norm xi, the controls. UAP: crafted on training images. Images "
    "are clamped to [0, 1]; xi is in pixel units of [0, 1]."
)
_ENERGY = "Gaussian noise v with E||v||^2 = rho||x||^2 for each image x; noisy images are clamped to [0, 1]."

Place = tuple[str, str, str]
"""Data set, split and images: what rows of one table share."""


@dataclass(frozen=True)
class _Row:
    """Whose predictions were changed, and how; the seeds of one row are averaged."""

    subject: Subject
    protocol: str
    kind: str
    name: str
    norm: str
    size: float
    steps: int
    spec: str

    @classmethod
    def of(cls, record: Record) -> _Row:
        it = record.condition
        how = (it.kind, it.name, it.norm or "", it.epsilon or 0.0, it.steps or 0, it.spec)
        return cls(Subject.of(record), it.protocol, *how)

    @property
    def rank(self) -> tuple[object, ...]:
        order = (protocol_rank(self.protocol), list(_NAMES).index(self.name) if self.name in _NAMES else len(_NAMES))
        return (self.norm, self.size, self.subject.rank, *order, self.name, self.spec, self.steps)

    @property
    def curve(self) -> tuple[object, ...]:
        """What the points of one line share."""
        return (self.subject, self.protocol, self.name, self.spec, self.steps)


Measured = Mapping[str, Sequence[Record]]
"""The records of one row by metric, one per seed."""


def fooling_tables(records: Sequence[Record]) -> list[Table]:
    """Returns per data set, split and images one table of universal perturbations and one of random noise."""
    labels = labels_of(records)
    tables = []
    for place, rows in _rows(records, UNIVERSAL).items():
        tables.append(_universal_table(place, rows, labels))
    for place, rows in _rows(records, NOISE).items():
        cells = tuple((*labels[row.subject], f"{row.size:g}", *_rates(found)) for row, found in rows.items())
        columns = ("run", "lambda policy", "rho", *METRICS)
        title = f"Random noise: {_title(place, rows)}"
        tables.append(Table(slug("random-noise", *place[:2], key=place), title, columns, cells, (_RATES, _ENERGY)))
    return tables


def fooling_frame(records: Sequence[Record]) -> pd.DataFrame:
    """Returns one row per curve point: whose predictions, what changed them, the rate and its spread over seeds.

    Rates are fractions. `std` is over seeds (empty for one); `low` and `high` end the 95 % Wilson interval of the mean
    rate on the images of one seed, as other seeds see the same images.
    """
    found: list[dict[str, object]] = []
    for kinds in (UNIVERSAL, NOISE):
        for (dataset, split, images), rows in _rows(records, kinds).items():
            for row, measured in rows.items():
                for metric in METRICS:
                    if measured[metric]:
                        about = {"run": row.subject.run, "model": row.subject.model, "weights": row.subject.weights}
                        about |= {"policy": row.subject.policy, "protocol": row.protocol}
                        about |= {"dataset": dataset, "split": split, "images": images}
                        about |= {"kind": row.kind, "name": row.name, "norm": row.norm, "spec": row.spec}
                        sizes = {"xi": row.size, "rho": math.nan} if kinds == UNIVERSAL else {"rho": row.size}
                        found.append({**about, **sizes, "metric": metric, **_numbers(measured[metric])})
    columns = ["run", "model", "weights", "policy", "protocol", "dataset", "split", "images", "kind", "name", "norm"]
    columns += ["spec", "xi", "rho", "metric", "seeds", "n", "rate", "std", "low", "high"]
    return pd.DataFrame(found, columns=columns)


def fooling_plots(records: Sequence[Record]) -> list[Plot]:
    """Returns fooling rates over xi, a panel per norm, and over rho, with a line per model and perturbation.

    Bands are 95 % intervals on the images of one seed. Figures of fewer than two sizes are left out.
    """
    labels = labels_of(records)
    plots = []
    for kinds, file, words, axis in (
        (UNIVERSAL, "fooling-uap", "Fooling rate over xi", "xi"),
        (NOISE, "fooling-noise", "Fooling rate over rho", "rho"),
    ):
        for place, rows in _rows(records, kinds).items():
            if len({row.size for row in rows}) > 1:
                name = slug(file, *place[:2], key=place)
                plots.append(_curves(name, f"{words}: {_title(place, rows)}", axis, rows, labels))
    return plots


def _rows(records: Iterable[Record], kinds: Sequence[str]) -> dict[Place, dict[_Row, Measured]]:
    """Returns the records to show by place and row; of several lambda fits of a row the newest counts."""
    found: dict[Place, dict[_Row, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in of_kinds(records, kinds):
        it = record.condition
        if it.metric in METRICS:
            found[(it.dataset, it.split, it.images)][_Row.of(record)].append(record)
    return {
        place: {row: _by_metric(found[place][row]) for row in sorted(found[place], key=lambda row: row.rank)}
        for place in sorted(found)
    }


def _by_metric(records: Sequence[Record]) -> Measured:
    newest = max(records, key=lambda record: (record.created, record.condition.key)).condition.fit
    shown = sorted((it for it in records if it.condition.fit == newest), key=lambda it: it.created)
    seeds: dict[str, dict[int, Record]] = {metric: {} for metric in METRICS}
    for record in shown:
        seeds[record.condition.metric][record.condition.seed] = record
    return {metric: [by_seed[seed] for seed in sorted(by_seed)] for metric, by_seed in seeds.items()}


def _universal_table(place: Place, rows: Mapping[_Row, Measured], labels: Labels) -> Table:
    crafted = sorted({row.spec for row in rows if row.spec})
    columns = ["run", "lambda policy", "how the attack met lambda", "perturbation", "norm", "xi", *METRICS]
    columns += ["crafting images", "fooled of them", "passes", "converged", "seconds"]
    columns += ["crafting"] if len(crafted) > 1 else []
    cells = []
    for row, found in rows.items():
        met = protocol_words(row.protocol, row.subject.policy)
        how = (_NAMES.get(row.name, row.name), norm_words(row.norm), epsilon_words(row.size))
        made = (row.spec or MISSING,) if len(crafted) > 1 else ()
        cells.append((*labels[row.subject], met, *how, *_rates(found), *_crafting(found[FOOLING]), *made))
    notes = (_RATES, _CONTROLS, *(f"UAP {words}." for words in crafted if len(crafted) == 1))
    title = f"Universal perturbations: {_title(place, rows)}"
    return Table(slug("uap", *place[:2], key=place), title, tuple(columns), tuple(cells), notes)


def _crafting(records: Sequence[Record]) -> tuple[str, ...]:
    """Returns crafting images, share of them fooled, passes, convergence and seconds; of several seeds each."""
    told = [json.loads(record.details) for record in records if record.details]
    if not told:
        return (MISSING,) * 5
    fooled = [f"{100 * it['crafting_fooled'] / it['crafting_images']:.2f}" for it in told]
    seconds = [f"{record.seconds:.1f}" for record in records if record.details]
    cells = (
        [str(it["crafting_images"]) for it in told],
        fooled,
        [str(it["passes"]) for it in told],
        ["yes" if it["converged"] else "no" for it in told],
        seconds,
    )
    return tuple(" / ".join(dict.fromkeys(cell) if len(set(cell)) == 1 else cell) for cell in cells)


def _rates(found: Measured) -> tuple[str, ...]:
    return tuple(_rate(found[metric]) for metric in METRICS)


def _rate(records: Sequence[Record]) -> str:
    if not records:
        return MISSING
    if len(records) == 1:
        return score_words(Score(records[0].correct, records[0].total))
    shares = [100 * record.correct / record.total for record in records]
    return f"{fmean(shares):.2f} ± {stdev(shares):.2f} ({len(shares)} seeds)"


def _numbers(records: Sequence[Record]) -> dict[str, object]:
    shares = [record.correct / record.total for record in records]
    low, high = _mean(records).interval
    spread = stdev(shares) if len(shares) > 1 else math.nan
    sizes = {"seeds": len(shares), "n": records[0].total, "rate": fmean(shares)}
    return {**sizes, "std": spread, "low": low, "high": high}


def _mean(records: Sequence[Record]) -> Score:
    """Returns the mean counts of one seed."""
    return Score(round(fmean(record.correct for record in records)), records[0].total)


def _curves(name: str, title: str, axis: str, rows: Mapping[_Row, Measured], labels: Labels) -> Plot:
    lines: dict[tuple[object, ...], str] = {}
    for row in sorted(rows, key=lambda row: (row.subject.rank, row.rank)):
        words = (*labels[row.subject], *((_NAMES.get(row.name, row.name),) if row.kind in UNIVERSAL else ()))
        words = (*words, row.protocol) if row.protocol not in ("", "plain") else words
        lines.setdefault(row.curve, ", ".join(words))
    norms = sorted({row.norm for row in rows}, reverse=True)
    figure, axes = panels(len(norms), legend_rows(list(lines.values())))
    figure.set_size_inches(max(_WIDTH, figure.get_figwidth()), figure.get_figheight())
    handles: dict[tuple[object, ...], Artist] = {}
    for ax, norm in zip(axes, norms, strict=True):
        for at, curve in enumerate(lines):
            points = {
                row.size: _mean(found[FOOLING])
                for row, found in rows.items()
                if row.norm == norm and row.curve == curve and found[FOOLING]
            }
            if points:
                handles.setdefault(curve, draw_line(ax, points, at))
        title_panel(ax, norm_words(norm) if norm else "", axis, "fooling rate (%)")
    share_heights(axes)
    shown = [curve for curve in lines if curve in handles]
    legend_below(figure, [handles[curve] for curve in shown], [lines[curve] for curve in shown])
    return Plot(name, title, f"Fooling rate over {axis}; lines: {'; '.join(lines.values())}.", figure)


def _title(place: Place, rows: Mapping[_Row, Measured]) -> str:
    dataset, split, images = place
    counts = sorted({record.total for found in rows.values() for record in found[FOOLING]})
    return f"{dataset} {split}, {' or '.join(map(str, counts))} images ({images})"
