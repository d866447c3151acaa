"""Two classifiers on the same images: who is right where the other is wrong, and whether that can be chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from robustcsc.measurements.statistics import Pair, holm
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


def pair_of(first: Record, second: Record) -> Pair | None:
    """Returns the pair of two records of the same images; ``None`` if single outcomes were not kept."""
    ours, theirs = first.bits, second.bits
    if ours is None or theirs is None or first.total != second.total or not first.total:
        return None
    return Pair.of_bits(ours, theirs, first.total)


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
        pair = pair_of(measured[first][severity], measured[second][severity])
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
