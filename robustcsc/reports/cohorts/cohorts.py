"""Which records may be compared or averaged, and how counts are pooled.

Records that differ in images, their number, seed, metric, severity table or source of corrupted images lie in different
cohorts. Most tables go through `by_cohort`, where cohorts never meet in one number; what groups records in another way,
such as fooling rates, which are means over seeds, chooses them by `of_newest_fit`, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import chain

from robustcsc.measurements.facts import Fact
from robustcsc.measurements.perturbations import Corruption, Perturbation
from robustcsc.measurements.policies import Fitted, NoLambda, Policy, lambda_of, on_curve
from robustcsc.measurements.records import Answers, Images, Metric, Precision, Record, Subject
from robustcsc.measurements.statistics import Score, Shares
from robustcsc.presentation.words import About, Title, slug, told_apart
from robustcsc.reports.cohorts.settings import origin_and_seed, setting_of, without_fit
from robustcsc.reports.cohorts.words import (
    ANSWERS_WORDS,
    about_precision,
    policy_rank,
    policy_words,
    setting_rank,
    source_words,
)

SEVERITIES = (1, 2, 3, 4, 5)
"""Those that the means of the benchmarks cover."""


class Cohort(Fact, frozen=True, kw_only=False):
    """What records must share to stand in one column.

    Attributes:
        dataset: Name of the data set, a label.
        split: ``"train"`` or ``"test"``.
        images: Fingerprint of the clean images.
        total: Number of images that were counted.
        origin: The corruption without name, severity and seed, which says where corrupted images come from; ``None``
            for all others.
        seed: Seed of the perturbation.
        metric: What was counted.
        answers: What answers were chosen from, as for `Location`: a label, as the fingerprint covers it.
        precision: What the models computed in.
    """

    dataset: str
    split: str
    images: str
    total: int
    origin: Corruption | None
    seed: int
    metric: Metric
    answers: Answers | None = None
    precision: Precision = "fp32"

    @classmethod
    def of(cls, record: Record) -> Cohort:
        """Returns the cohort of one record."""
        it = record.measurement
        return _cohort(it.images, it.perturbation, it.metric, record.total, record.location.answers, it.precision)

    @property
    def rank(self) -> tuple[object, ...]:
        """Sorting key."""
        images = (self.images, self.files, self.total)
        known = (self.dataset, self.split, self.origin_words, *images, self.seed, self.metric)
        return known if self.precision == "fp32" else (*known, self.precision)  # names of files stay what they were

    @property
    def about(self) -> tuple[About, ...]:
        """Everything that the cohort fixes."""
        files = f", files {self.files}" if self.files else ""
        data, seed, metric = f"{self.dataset} {self.split}", f"seed {self.seed}", self.metric.value
        facts = [About("data", data, data)]
        if self.origin:
            source, table = source_words(self.origin), self.origin.table
            facts += [About("source", source, source), About("table", table.name, table.words)]
        facts.append(About("images", f"{self.total:,} images", f"{self.total} images ({self.images}{files})"))
        facts += [About("answers", *[ANSWERS_WORDS[self.answers]] * 2)] if self.answers else []
        facts += [About("seed", seed, seed), about_precision(self.precision)]
        return (*facts, *([] if self.metric is Metric.ACCURACY else [About("metric", metric, metric)]))

    def titled(self, words: str) -> Title:
        """Returns the title of a table or chart about the cohort."""
        return Title(words, self.about)

    @property
    def origin_words(self) -> tuple[str, ...]:
        """Names source and severity table of corrupted images; empty for others."""
        return (source_words(self.origin), self.origin.table.words) if self.origin else ()

    @property
    def clean_images(self) -> tuple[str, str, str, int, Precision]:
        """Data set, split, fingerprint and number of images, and precision: what clean and perturbed images share."""
        return (self.dataset, self.split, self.images, self.total, self.precision)

    @property
    def files(self) -> str:
        """Fingerprint of published files, where there are several versions of them."""
        return self.origin.files if self.origin else ""

    def file_name(self, *parts: str) -> str:
        """Returns a name for a file about this cohort, unique among cohorts."""
        key = tuple(str(part) for part in self.rank)
        return slug(*parts, self.dataset, self.split, *self.origin_words[:1], key=key)


def apart(cohort: Cohort, others: Iterable[Cohort]) -> str:
    """Returns in words what tells a cohort from others; ``""`` if nothing does."""
    return told_apart(cohort.about, (it for other in others for it in other.about))


class Variant(Fact, frozen=True, kw_only=False):
    """One run with its weights under one policy: a row of most tables.

    Attributes:
        subject: Run, model and weights.
        policy: How lambda was chosen, whatever the fit, and what else was done at test time.
    """

    subject: Subject
    policy: Policy

    @classmethod
    def of(cls, record: Record) -> Variant:
        """Returns the variant that one record measured."""
        return _variant(record.measurement.subject, record.measurement.policy)

    @property
    @lru_cache(maxsize=2**14)  # noqa: B019
    def rank(self) -> tuple[object, ...]:
        """Sorting key: models without lambda first (the baselines), then by run, then by policy."""
        it = self.subject
        return (self.policy != NoLambda(), it.run, it.model, it.weights, policy_rank(self.policy))


Setting = Perturbation
"""What was done to the images, whatever its severity and seed: see `setting_of`."""

Series = Mapping[int, Record]
"""What was measured of one variant in one setting by severity; the only key is 0 where there is no severity."""

Part = tuple[Series, Collection[int]]
"""What a mean takes from one series: the series (empty if nothing was measured) and the severities it needs."""

Rows = Mapping[Variant, Series]
"""What was measured in one setting, by variant."""

Nested = Mapping[Cohort, Mapping[Setting, Rows]]
"""Everything to show by cohort, setting and variant, in the order of tables."""


def fit_of(record: Record) -> str:
    """Returns the digest of the lambda fit that a record used; ``""`` if it used none."""
    policy = lambda_of(record.measurement.policy)
    return policy.fit if isinstance(policy, Fitted) else ""


def severity_of(record: Record) -> int:
    """Returns the severity of a record's corruption; 0 where there is none."""
    perturbation = record.measurement.perturbation
    return perturbation.severity if isinstance(perturbation, Corruption) else 0


def of_newest_fit(records: Iterable[Record]) -> list[Record]:
    """Returns those of some records, at least one, that used the lambda fit of the newest, which is the last."""
    aged = sorted(records, key=_age)
    newest = fit_of(aged[-1])
    return [record for record in aged if fit_of(record) == newest]


def score(record: Record) -> Score:
    """Returns the counts of one record."""
    return Score(record.met, record.total)


def total_score(records: Sequence[Record]) -> Score:
    """Adds the counts of cells of the same images, image by image where single outcomes were kept."""
    if len(records) == 1:
        return score(records[0])
    shares = Shares.of([record.outcomes for record in records])
    if shares is not None:
        return shares.score
    return Score(sum([record.met for record in records]), sum([record.total for record in records]), len(records))


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
    def places(self) -> dict[type[Perturbation], list[int]]:
        """Where the records of each kind of perturbation are."""
        found: dict[type[Perturbation], list[int]] = {}
        for at, record in enumerate(self):
            found.setdefault(type(record.measurement.perturbation), []).append(at)
        return found

    @cached_property
    def variants(self) -> frozenset[Variant]:
        """Who was measured."""
        return frozenset(map(Variant.of, self))


def of_kinds(records: Iterable[Record], *kinds: type[Perturbation]) -> list[Record]:
    """Returns the records of some kinds of perturbation."""
    if isinstance(records, Shown):
        return [records[at] for at in sorted(chain(*(records.places.get(kind, ()) for kind in kinds)))]
    return [record for record in records if isinstance(record.measurement.perturbation, kinds)]


def by_cohort(records: Iterable[Record]) -> Nested:
    """Returns the records to show, by cohort, setting and variant, then by severity, in the order of tables.

    One series uses one lambda fit: after a refit, the fit of the newest record counts and the older records of
    that series are left out (data frames of records still have them). Of equal measurements the newest counts.
    """
    if isinstance(records, Shown):
        return records.nested
    found: dict[Cohort, dict[Setting, dict[Variant, list[Record]]]] = {}
    for record in records:
        settings = found.setdefault(Cohort.of(record), {})
        rows = settings.setdefault(setting_of(record.measurement.perturbation), {})
        rows.setdefault(Variant.of(record), []).append(record)
    return {
        cohort: {
            setting: {it: _series(found[cohort][setting][it]) for it in ranked(found[cohort][setting])}
            for setting in sorted(found[cohort], key=setting_rank)
        }
        for cohort in sorted(found, key=lambda it: it.rank)
    }


def _series(records: Sequence[Record]) -> Series:
    return {severity_of(it): it for it in of_newest_fit(records)}


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


def ranked(variants: Iterable[Variant]) -> list[Variant]:
    """Returns the variants in the order of table rows."""
    return sorted(set(variants), key=lambda variant: variant.rank)


Labels = Mapping[Variant, tuple[str, str]]
"""Run and lambda policy in words."""


def labels_of(records: Iterable[Record]) -> Labels:
    """Returns (run, policy) in words for each variant; weights are named where one run has several."""
    known = records.variants if isinstance(records, Shown) else frozenset(map(Variant.of, records))
    several = Counter(it.run for it in {variant.subject for variant in known})
    return {
        variant: (
            f"{it.run} ({it.model}, weights {it.weights[:8]})" if several[it.run] > 1 else it.run,
            policy_words(variant.policy),
        )
        for variant, it in ((variant, variant.subject) for variant in known)
    }


def without_fixed(variants: Sequence[Variant]) -> list[Variant]:
    """Leaves out fixed lambdas of all layers of every run that has another policy: they belong to the lambda curves."""
    others = {it.subject for it in variants if not on_curve(it.policy)}
    return [it for it in variants if not on_curve(it.policy) or it.subject not in others]


def _age(record: Record) -> tuple[str, str, int, int]:
    return (record.provenance.created, fit_of(record), record.measurement.batch_size or 0, record.met)


@lru_cache(maxsize=2**14)
def _cohort(
    images: Images, made: Perturbation, metric: Metric, total: int, answers: Answers | None, precision: Precision
) -> Cohort:
    origin, seed = origin_and_seed(made)
    return Cohort(images.dataset, images.split, images.fingerprint, total, origin, seed, metric, answers, precision)


@lru_cache(maxsize=2**14)
def _variant(subject: Subject, policy: Policy) -> Variant:
    return Variant(subject, without_fit(policy))
