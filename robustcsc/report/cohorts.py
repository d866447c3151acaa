"""Which records may be compared or averaged, and how counts are pooled.

Everything a report shows goes through `series`: records that differ in data set, split, images, their number,
seed, metric, data source or severity table lie in different cohorts and never meet in one number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import NamedTuple

from robustcsc.measurements.statistics import Score
from robustcsc.records import THEN, Record
from robustcsc.report.words import MISSING, policy_rank, policy_words, protocol_rank, score_words, slug


class Cohort(NamedTuple):
    """What records must share to stand in one column."""

    dataset: str
    split: str
    source: str
    spec: str
    images: str
    total: int
    seed: int
    metric: str

    @classmethod
    def of(cls, record: Record) -> Cohort:
        """Returns the cohort of one record."""
        it = record.condition
        return cls(it.dataset, it.split, it.source, it.spec, it.images, record.total, it.seed, it.metric)

    @property
    def title(self) -> str:
        """Names everything the cohort fixes."""
        parts = [f"{self.dataset} {self.split}", *self.corruptions, self.words]
        return ", ".join([*parts, self.metric] if self.metric != "accuracy" else parts)

    @property
    def corruptions(self) -> tuple[str, ...]:
        """Names source and severity table of corrupted images; empty for others."""
        if not self.spec:
            return () if self.source in ("original", "generated") else (self.source,)
        if self.source == "official":
            return ("official corrupted files", self.spec)
        return (self.source.replace("generated", "generated corruptions", 1), self.spec)

    @property
    def words(self) -> str:
        """Names the images and the seed only."""
        return f"{self.total} images ({self.images}), seed {self.seed}"

    @property
    def key(self) -> tuple[str, ...]:
        """All fields as text, in a fixed order."""
        fields = (self.dataset, self.split, self.source, self.spec, self.images, self.metric)
        return (*fields, str(self.total), str(self.seed))

    def file_name(self, *parts: str) -> str:
        """Returns a name for a file about this cohort, unique among cohorts."""
        source = self.source if self.spec else ""
        return slug(*parts, self.dataset, self.split, source, key=self.key)


class Subject(NamedTuple):
    """Who was measured: one run (with its weights) under one lambda policy. A row of most tables."""

    run: str
    model: str
    weights: str
    policy: str

    @classmethod
    def of(cls, record: Record) -> Subject:
        """Returns the subject of one record."""
        it = record.condition
        return cls(it.run, it.model, it.weights, it.policy)

    @property
    def rank(self) -> tuple[object, ...]:
        """Sorting key: models without lambda first (the baselines), then by run, then by policy."""
        return (self.policy != "none", self.run, self.model, self.weights, policy_rank(self.policy))


class Setting(NamedTuple):
    """What was done to the images, without the severity."""

    kind: str
    name: str
    norm: str | None
    epsilon: float | None
    steps: int | None
    restarts: int | None
    protocol: str

    @classmethod
    def of(cls, record: Record) -> Setting:
        """Returns the setting of one record."""
        it = record.condition
        return cls(it.kind, it.name, it.norm, it.epsilon, it.steps, it.restarts, it.protocol)

    @property
    def basic(self) -> bool:
        """Whether this is one attack under a protocol of the paper's table, and not part of a suite."""
        return self.kind == "attack" and THEN not in self.name and self.protocol in ("", "plain", "static", "adaptive")

    @property
    def rank(self) -> tuple[object, ...]:
        """Sorting key of attack columns: name, norm, budget, steps, restarts, protocol."""
        numbers = (-1 if value is None else value for value in (self.epsilon, self.steps, self.restarts))
        return (self.name, self.norm or "", *numbers, protocol_rank(self.protocol))


Place = tuple[Cohort, Setting, Subject]
Series = Mapping[int, Record]
"""The records of one place by severity; the only key is 0 where there is no severity."""

Part = tuple[Series, Collection[int]]
"""What a mean takes from one series: the series (empty if nothing was measured) and the severities it needs."""


_PLACE = attrgetter(
    *("dataset", "split", "source", "spec", "images", "seed", "metric"),  # the cohort
    *("kind", "name", "norm", "epsilon", "steps", "restarts", "protocol"),  # the setting
    *("run", "model", "weights", "policy"),  # the subject
)


def series(records: Iterable[Record]) -> dict[Place, dict[int, Record]]:
    """Returns the records to show, by cohort, setting and subject, then by severity.

    One series uses one lambda fit: after a refit, the fit of the newest record counts and the older records of
    that series are left out (`records_frame` still has them). Of equal measurements the newest counts.
    """
    found: dict[Place, list[Record]] = defaultdict(list)
    alike: dict[tuple[object, ...], list[Record]] = defaultdict(list)  # a place is named once, not for every record
    for record in records:
        alike[(*_PLACE(record.condition), record.total)].append(record)
    for group in alike.values():
        found[Cohort.of(group[0]), Setting.of(group[0]), Subject.of(group[0])] += group
    chosen: dict[Place, dict[int, Record]] = {}
    for place in sorted(found, key=_place_rank):
        aged = sorted(found[place], key=_age)
        fit = aged[-1].condition.fit
        chosen[place] = {it.condition.severity or 0: it for it in aged if it.condition.fit == fit}
    return chosen


def total_score(records: Sequence[Record]) -> Score:
    """Adds the counts of cells of the same images."""
    return Score(sum(record.correct for record in records), sum(record.total for record in records), len(records))


def pool(parts: Sequence[Part]) -> Score | None:
    """Adds the counts of all parts; ``None`` without parts or if one of their severities is missing.

    Within a cohort all totals are equal, so the pooled accuracy is the plain mean of the accuracies.
    """
    if not parts or any(not set(wanted) <= set(measured) for measured, wanted in parts):
        return None
    return total_score([measured[severity] for measured, wanted in parts for severity in wanted])


def mean_cell(parts: Sequence[Part], *, with_n: bool = False) -> str:
    """Returns the pooled score as a table cell, or how much of it was measured (``"– (3 of 5)"``)."""
    score = pool(parts)
    if score is not None:
        return score_words(score, with_n=with_n)
    there = sum(len(set(wanted) & set(measured)) for measured, wanted in parts)
    return f"{MISSING} ({there} of {sum(len(wanted) for _, wanted in parts)})" if there else MISSING


Nested = Mapping[Cohort, Mapping[Setting, Mapping[Subject, Series]]]
"""`series` by cohort, setting and subject."""


class Shown(list[Record]):
    """Records that no longer change, and what all tables and figures read off them, which is made once."""

    @cached_property
    def nested(self) -> Nested:
        """`by_cohort` of the records."""
        return by_cohort(iter(self))

    @cached_property
    def by_kind(self) -> Mapping[str, Sequence[Record]]:
        """The records of each kind of measurement."""
        found: dict[str, list[Record]] = defaultdict(list)
        for record in self:
            found[record.condition.kind].append(record)
        return found

    @cached_property
    def subjects(self) -> frozenset[Subject]:
        """Who was measured."""
        return frozenset(map(Subject.of, self))


def of_kinds(records: Iterable[Record], kinds: Sequence[str]) -> list[Record]:
    """Returns the records of some kinds of measurement."""
    if isinstance(records, Shown):
        return [record for kind in kinds for record in records.by_kind.get(kind, ())]
    return [record for record in records if record.condition.kind in kinds]


def by_cohort(records: Iterable[Record]) -> Nested:
    """Returns `series` nested by cohort, setting and subject, in the order tables show them."""
    if isinstance(records, Shown):
        return records.nested
    nested: dict[Cohort, dict[Setting, dict[Subject, Series]]] = {}
    for (cohort, setting, subject), measured in series(records).items():
        nested.setdefault(cohort, {}).setdefault(setting, {})[subject] = measured
    return nested


def severities_of(rows: Iterable[Series]) -> list[int]:
    """Returns the severities that any of `rows` was measured at: a mean has to cover all of them."""
    return sorted({severity for measured in rows for severity in measured})


def subject_labels(subjects: Iterable[Subject]) -> dict[Subject, tuple[str, str]]:
    """Returns (run, policy) in words for each subject; weights are named where one run has several."""
    known = list(subjects)
    weights: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for subject in known:
        weights[subject.run].add((subject.model, subject.weights))
    labels = {}
    for subject in known:
        several = len(weights[subject.run]) > 1
        run = f"{subject.run} ({subject.model}, weights {subject.weights[:8]})" if several else subject.run
        labels[subject] = (run, policy_words(subject.policy))
    return labels


def without_fixed(subjects: Sequence[Subject]) -> list[Subject]:
    """Leaves out fixed lambdas of every run that has another policy: they belong to the lambda curves."""
    others = {(s.run, s.model, s.weights) for s in subjects if not s.policy.startswith("fixed=")}
    return [s for s in subjects if not s.policy.startswith("fixed=") or (s.run, s.model, s.weights) not in others]


def _age(record: Record) -> tuple[str, str, int, int]:
    return (record.created, record.condition.fit, record.condition.batch_size or 0, record.correct)


def _place_rank(place: Place) -> tuple[object, ...]:
    cohort, setting, subject = place
    return (cohort, setting.kind, setting.rank, subject.rank)
