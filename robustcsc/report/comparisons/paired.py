"""Two classifiers on the same images: who is right where the other is wrong, and whether that can be chance.

Sources:
    Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12 (1947). A. Agresti, Y. Min, "Simple improved confidence intervals for comparing matched
    proportions", Statistics in Medicine 24 (2005). S. Holm, "A simple sequentially rejective multiple test procedure",
    Scandinavian Journal of Statistics 6 (1979).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from robustcsc.records import Record
from robustcsc.report.cohorts import Cohort, Series, Setting, Subject, by_cohort
from robustcsc.report.gains import baselines_of, opponents, signed
from robustcsc.report.table import Table
from robustcsc.report.tables import Labels, labels_of, ranked
from robustcsc.report.words import attack_words, corruption_rank, corruption_words

_NOTES = (
    "Both rows saw the same images, which are compared one by one. The difference is in percentage points with the "
    "95 % interval of Agresti and Min for matched pairs; p is that of McNemar's exact test (two-sided): how often a "
    "difference this large comes about when both are equally good.",
    "p (Holm) allows for the number of comparisons in this table; only a value below 0.05 there is called better.",
)
_LEVEL = 0.05
_KINDS = {"clean": "clean", "corruption": "corrupted", "attack": "attacked"}


@dataclass(frozen=True)
class Pair:
    """How two classifiers fared on the same images.

    Attributes:
        only_first: Images that only the first one had right.
        only_second: Images that only the second one had right.
        total: Images.
    """

    only_first: int
    only_second: int
    total: int

    @classmethod
    def of(cls, first: Record, second: Record) -> Pair | None:
        """Returns the pair of two records of the same images; ``None`` if single outcomes were not kept."""
        ours, theirs = first.bits, second.bits
        if ours is None or theirs is None or first.total != second.total or not first.total:
            return None
        return cls((ours & ~theirs).bit_count(), (theirs & ~ours).bit_count(), first.total)

    @property
    def points(self) -> float:
        """Accuracy of the first minus that of the second, in percentage points."""
        return 100 * (self.only_first - self.only_second) / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of `points`: Wald's after half an image was added to each of the four counts."""
        first, second, total = self.only_first + 0.5, self.only_second + 0.5, self.total + 2
        middle = (first - second) / total
        reach = NormalDist().inv_cdf(0.975) * math.sqrt(first + second - (first - second) ** 2 / total) / total
        return 100 * max(middle - reach, -1.0), 100 * min(middle + reach, 1.0)

    @property
    def p_value(self) -> float:
        """McNemar's exact test, two-sided: twice the smaller tail of Binomial(b + c, 1/2), at most 1."""
        discordant, fewer = self.only_first + self.only_second, min(self.only_first, self.only_second)
        return min(1.0, 2 * math.fsum(_chance(few, discordant) for few in range(fewer + 1)))


def _chance(few: int, count: int) -> float:
    """Returns the chance of `few` heads in `count` throws of a fair coin."""
    ways = math.lgamma(count + 1) - math.lgamma(few + 1) - math.lgamma(count - few + 1)
    return math.exp(ways - count * math.log(2))


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns the p-values of several tests so that the chance of even one false finding stays below the level.

    The k-th smallest of m is multiplied by m - k + 1, and never falls below an earlier one; at most 1.
    """
    adjusted = [1.0] * len(p_values)
    reached = 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        reached = max(reached, min(1.0, p_values[at] * (len(p_values) - rank)))
        adjusted[at] = reached
    return adjusted


def paired_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per cohort: every row against its training lambda and against other runs, image by image.

    Only where the outcomes of single images were kept. Tables without a comparison are left out.
    """
    labels = labels_of(records)
    tables = []
    for cohort, settings in by_cohort(records).items():
        if cohort.metric != "accuracy":
            continue
        found = [
            (setting, severity, first, second, pair)
            for setting in sorted(settings, key=_setting_rank)
            for first, second in _pairs(settings[setting])
            for severity, pair in _by_severity(settings[setting], first, second)
        ]
        if found:
            tables.append(_paired_table(cohort, found, labels))
    return tables


_Found = tuple[Setting, int, Subject, Subject, Pair]


def _setting_rank(setting: Setting) -> tuple[object, ...]:
    return (
        ("clean", "corruption").index(setting.kind) if setting.kind in ("clean", "corruption") else 2,
        corruption_rank(setting.name) if setting.kind == "corruption" else (0, ""),
        setting.rank,
    )


def _pairs(measured: Mapping[Subject, Series]) -> Iterator[tuple[Subject, Subject]]:
    """Yields who is compared with whom, every two once; fixed lambdas and the oracle are compared with nobody."""
    met: set[frozenset[Subject]] = set()
    kept = [it for it in measured if it.policy != "oracle" and not it.policy.startswith("fixed=")]
    baselines = baselines_of(kept)
    for first in reversed(ranked(kept)):
        for second in opponents(first, baselines):
            two = frozenset((first, second))
            if len(two) == 2 and two not in met:
                met.add(two)
                yield first, second


def _by_severity(measured: Mapping[Subject, Series], first: Subject, second: Subject) -> Iterator[tuple[int, Pair]]:
    for severity in sorted(set(measured[first]) & set(measured[second])):
        pair = Pair.of(measured[first][severity], measured[second][severity])
        if pair is not None:
            yield severity, pair


def _paired_table(cohort: Cohort, found: Sequence[_Found], labels: Labels) -> Table:
    p_values = [pair.p_value for *_, pair in found]
    rows = []
    for (setting, severity, first, second, pair), p, corrected in zip(found, p_values, holm(p_values), strict=True):
        names = [", ".join(labels[it]) for it in (first, second)]
        better = names[pair.points < 0] if corrected < _LEVEL else "no difference shown"
        low, high = pair.interval
        rows.append(
            (
                *(*names, _images(setting, severity), signed(pair.points, 2)),
                *(f"[{signed(low, 2)}, {signed(high, 2)}]", str(pair.only_first), str(pair.only_second)),
                *(f"{p:.2g}", f"{corrected:.2g}", better),
            )
        )
    return Table(
        name=cohort.file_name("paired"),
        title=f"Image by image, {_KINDS.get(found[0][0].kind, 'others')}: {cohort.title}",
        columns=(
            *("first", "second", "images", "first minus second", "95 % interval", "only first right"),
            *("only second right", "p", "p (Holm)", "better"),
        ),
        rows=tuple(rows),
        notes=_NOTES,
    )


def _images(setting: Setting, severity: int) -> str:
    if setting.kind == "corruption":
        return f"{corruption_words(setting.name)}, severity {severity}"
    if setting.kind == "attack":
        return ", ".join(filter(None, (attack_words(setting), setting.protocol)))
    return setting.name
