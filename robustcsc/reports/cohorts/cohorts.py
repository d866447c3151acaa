"""Which records may be compared or averaged, and how counts are pooled.

Records that differ in images, their number, seed, metric, severity table or source of corrupted images lie in different
cohorts. Most tables go through `series`, where cohorts never meet in one number; what groups records in another way,
such as fooling rates, which are means over seeds, chooses them by `of_newest_fit`, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple, TypeGuard

from robustcsc.measurements.facts import replace
from robustcsc.measurements.perturbations import Attack, Clean, Corruption, Perturbation, Universal
from robustcsc.measurements.policies import Adaptive, FixedLambda, NoLambda, Policy
from robustcsc.measurements.protocols import BASIC
from robustcsc.measurements.records import Metric, Record
from robustcsc.measurements.statistics import Score
from robustcsc.presentation.words import slug
from robustcsc.reports.cohorts.origins import Origin, origin_and_seed
from robustcsc.reports.cohorts.words import policy_rank, policy_words, setting_rank

SEVERITIES = (1, 2, 3, 4, 5)
"""Those that the means of the benchmarks cover."""


class Cohort(NamedTuple):
    """What records must share to stand in one column.

    Attributes:
        dataset: Name of the data set, a label.
        split: ``"train"`` or ``"test"``.
        images: Fingerprint of the clean images.
        total: Number of images that were counted.
        origin: Where corrupted images come from; ``None`` for all others.
        seed: Seed of the perturbation.
        metric: What was counted.
    """

    dataset: str
    split: str
    images: str
    total: int
    origin: Origin | None
    seed: int
    metric: Metric

    @classmethod
    def of(cls, record: Record) -> Cohort:
        """Returns the cohort of one record."""
        it = record.measurement
        images, (origin, seed) = it.images, origin_and_seed(it.perturbation)
        return cls(images.dataset, images.split, images.fingerprint, record.total, origin, seed, it.metric)

    @property
    def rank(self) -> tuple[object, ...]:
        """Sorting key."""
        images = (self.images, self.files, self.total)
        return (self.dataset, self.split, self.origin_words, *images, self.seed, self.metric)

    @property
    def title(self) -> str:
        """Names everything the cohort fixes."""
        metric = () if self.metric is Metric.ACCURACY else (self.metric.value,)
        return ", ".join([f"{self.dataset} {self.split}", *self.origin_words, self.words, *metric])

    @property
    def origin_words(self) -> tuple[str, ...]:
        """Names source and severity table of corrupted images; empty for others."""
        return self.origin.words if self.origin else ()

    @property
    def files(self) -> str:
        """Fingerprint of published files, where there are several versions of them."""
        return self.origin.files if self.origin else ""

    @property
    def words(self) -> str:
        """Names the images and the seed only."""
        files = f", files {self.files}" if self.files else ""
        return f"{self.total} images ({self.images}{files}), seed {self.seed}"

    def file_name(self, *parts: str) -> str:
        """Returns a name for a file about this cohort, unique among cohorts."""
        key = tuple(str(part) for part in self.rank)
        return slug(*parts, self.dataset, self.split, *self.origin_words[:1], key=key)


class Variant(NamedTuple):
    """One run with its weights under one lambda policy: a row of most tables.

    Attributes:
        run: Name of the run.
        model: Name of the model.
        weights: SHA-256 of its weights.
        policy: How lambda was chosen, whatever the fit.
    """

    run: str
    model: str
    weights: str
    policy: Policy

    @classmethod
    def of(cls, record: Record) -> Variant:
        """Returns the variant that one record measured."""
        it = record.measurement
        return cls(it.subject.run, it.subject.model, it.subject.weights, without_fit(it.policy))

    @property
    def rank(self) -> tuple[object, ...]:
        """Sorting key: models without lambda first (the baselines), then by run, then by policy."""
        return (self.policy != NoLambda(), self.run, self.model, self.weights, policy_rank(self.policy))

    @property
    def weights_of_run(self) -> tuple[str, str, str]:
        """What variants share that differ in their policy only."""
        return (self.run, self.model, self.weights)


Setting = Perturbation
"""What was done to the images, whatever its severity and seed: see `setting_of`."""

Place = tuple[Cohort, Setting, Variant]
"""Where a number belongs in the tables, but for its severity."""

Series = Mapping[int, Record]
"""The records of one place by severity; the only key is 0 where there is no severity."""

Part = tuple[Series, Collection[int]]
"""What a mean takes from one series: the series (empty if nothing was measured) and the severities it needs."""

Rows = Mapping[Variant, Series]
"""What was measured in one setting, by variant."""

Nested = Mapping[Cohort, Mapping[Setting, Rows]]
"""`series` by cohort, setting and variant."""


@lru_cache(maxsize=2**12)
def without_fit(policy: Policy) -> Policy:
    """Returns a policy without the lambda fit that it used."""
    return replace(policy, fit="") if isinstance(policy, Adaptive) else policy


def fit_of(record: Record) -> str:
    """Returns the digest of the lambda fit that a record used; ``""`` if it used none."""
    policy = record.measurement.policy
    return policy.fit if isinstance(policy, Adaptive) else ""


@lru_cache(maxsize=2**12)
def setting_of(perturbation: Perturbation) -> Setting:
    """Returns a perturbation without what differs between the cells of one column or belongs to the cohort."""
    match perturbation:
        case Clean():
            return perturbation
        case Corruption():
            return replace(perturbation, severity=0, seed=0, files="")
        case Universal(crafting=crafting):
            return replace(perturbation, crafting=replace(crafting, seed=0))
        case _:
            return replace(perturbation, seed=0)


def is_basic(setting: Setting) -> TypeGuard[Attack]:
    """Whether a setting is a single attack under plain, static or adaptive, and not part of a suite."""
    match setting:
        case Attack(steps=[_], saved=None, protocol=protocol):
            return protocol in BASIC
        case _:
            return False


def severity_of(record: Record) -> int:
    """Returns the severity of a record's corruption; 0 where there is none."""
    perturbation = record.measurement.perturbation
    return perturbation.severity if isinstance(perturbation, Corruption) else 0


def series(records: Iterable[Record]) -> dict[Place, dict[int, Record]]:
    """Returns the records to show, by cohort, setting and variant, then by severity.

    One series uses one lambda fit: after a refit, the fit of the newest record counts and the older records of
    that series are left out (data frames of records still have them). Of equal measurements the newest counts.
    """
    found: dict[Place, list[Record]] = defaultdict(list)
    for record in records:
        found[Cohort.of(record), setting_of(record.measurement.perturbation), Variant.of(record)].append(record)
    chosen: dict[Place, dict[int, Record]] = {}
    for place in sorted(found, key=_place_rank):
        chosen[place] = {severity_of(it): it for it in of_newest_fit(found[place])}
    return chosen


def of_newest_fit(records: Iterable[Record]) -> list[Record]:
    """Returns those of some records, at least one, that used the lambda fit of the newest, which is the last."""
    aged = sorted(records, key=_age)
    newest = fit_of(aged[-1])
    return [record for record in aged if fit_of(record) == newest]


def score(record: Record) -> Score:
    """Returns the counts of one record."""
    return Score(record.correct, record.total)


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


class Shown(list[Record]):
    """Records that no longer change, and what all tables and figures read off them, which is made once."""

    @cached_property
    def nested(self) -> Nested:
        """`by_cohort` of the records."""
        return by_cohort(iter(self))

    @cached_property
    def variants(self) -> frozenset[Variant]:
        """Who was measured."""
        return frozenset(map(Variant.of, self))


def of_kinds(records: Iterable[Record], *kinds: type[Perturbation]) -> list[Record]:
    """Returns the records of some kinds of perturbation."""
    return [record for record in records if isinstance(record.measurement.perturbation, kinds)]


def by_cohort(records: Iterable[Record]) -> Nested:
    """Returns `series` nested by cohort, setting and variant, in the order tables show them."""
    if isinstance(records, Shown):
        return records.nested
    nested: dict[Cohort, dict[Setting, dict[Variant, Series]]] = {}
    for (cohort, setting, variant), measured in series(records).items():
        nested.setdefault(cohort, {}).setdefault(setting, {})[variant] = measured
    return nested


def part_of(nested: Nested, *kinds: type[Perturbation], metric: Metric = Metric.ACCURACY) -> Nested:
    """Returns what was measured of some kinds of perturbation with one metric; cohorts without any are left out."""
    picked = {
        cohort: {setting: rows for setting, rows in settings.items() if isinstance(setting, kinds)}
        for cohort, settings in nested.items()
        if cohort.metric is metric
    }
    return {cohort: settings for cohort, settings in picked.items() if settings}


def corruptions_of(settings: Mapping[Setting, Rows]) -> dict[str, Rows]:
    """Returns what was measured under each corruption, by its name, in the order of tables."""
    return {setting.name: rows for setting, rows in settings.items() if isinstance(setting, Corruption)}


def severities_of(rows: Iterable[Series]) -> list[int]:
    """Returns the severities that any of `rows` was measured at: a mean has to cover all of them."""
    return sorted({severity for measured in rows for severity in measured})


def variants_of(records: Iterable[Record]) -> frozenset[Variant]:
    """Returns who was measured."""
    return records.variants if isinstance(records, Shown) else frozenset(map(Variant.of, records))


def ranked(variants: Iterable[Variant]) -> list[Variant]:
    """Returns the variants in the order of table rows."""
    return sorted(set(variants), key=lambda variant: variant.rank)


Labels = Mapping[Variant, tuple[str, str]]
"""Run and lambda policy in words."""


def labels_of(records: Iterable[Record]) -> Labels:
    """Returns (run, policy) in words for each variant; weights are named where one run has several."""
    known = variants_of(records)
    weights: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for variant in known:
        weights[variant.run].add((variant.model, variant.weights))
    labels = {}
    for variant in known:
        several = len(weights[variant.run]) > 1
        run = f"{variant.run} ({variant.model}, weights {variant.weights[:8]})" if several else variant.run
        labels[variant] = (run, policy_words(variant.policy))
    return labels


def without_fixed(variants: Sequence[Variant]) -> list[Variant]:
    """Leaves out fixed lambdas of every run that has another policy: they belong to the lambda curves."""
    others = {it.weights_of_run for it in variants if not isinstance(it.policy, FixedLambda)}
    return [it for it in variants if not isinstance(it.policy, FixedLambda) or it.weights_of_run not in others]


def _age(record: Record) -> tuple[str, str, int, int]:
    return (record.provenance.created, fit_of(record), record.measurement.batch_size or 0, record.correct)


def _place_rank(place: Place) -> tuple[object, ...]:
    cohort, setting, variant = place
    return (cohort.rank, setting_rank(setting), variant.rank)
