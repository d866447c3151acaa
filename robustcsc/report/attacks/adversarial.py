"""Accuracy under many attacks: what all of them leave, and attack by attack.

The accuracy under several attacks on the same images is that of an attacker who may try all of them: an image counts
only if it stays right under each. It is computed image by image, from the outcomes that records keep.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from robustcsc.measurements.statistics import Score
from robustcsc.records import THEN, WHITE_BOX, Record
from robustcsc.report.cohorts import Cohort, Subject, by_cohort, of_kinds
from robustcsc.report.flags import flags_by_condition
from robustcsc.report.table import Table
from robustcsc.report.tables import PERCENT, Labels, labels_of
from robustcsc.report.words import (
    MISSING,
    attack_words,
    epsilon_words,
    fixed_lambda,
    norm_words,
    policy_rank,
    protocol_rank,
    protocol_words,
    score_words,
)

ALL_ATTACKS = (
    "Under all attacks an image counts only if it stays right under each of them, counted image by image: the robust "
    "accuracy as far as it was measured, an upper bound of the true one."
)
_WORST_NOTES = (
    ALL_ATTACKS,
    "Attacks under the protocol static are crafted without knowing the tuned lambda: a transfer test.",
    "Of fixed lambdas the best one is shown. They and the oracle, which uses the test labels, do not enter the last "
    "row, which is a minimum over lambda policies, too.",
)
EVERYTHING = "all of these"
TRANSFER_ONLY = "transfer tests only"


@dataclass(frozen=True)
class Model:
    """Whose attacks are taken together: a run's weights on one set of images, at one budget."""

    cohort: Cohort
    run: str
    weights: str
    norm: str
    epsilon: float


def worst_case_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per cohort: what all attacks on a model leave, per lambda policy and under all of them.

    Records without outcomes of single images (measured by earlier versions) are left out.
    """
    labels = labels_of(records)
    rows: dict[Cohort, list[tuple[str, ...]]] = defaultdict(list)
    for model, attacks in _by_model(records).items():
        rows[model.cohort] += _worst_rows(model, attacks, labels)
    return [
        Table(
            name=cohort.file_name("worst-case"),
            title=f"Under all attacks: {cohort.title}",
            columns=(
                "run",
                "budget",
                "lambda policy",
                "attacks",
                "strongest single attack",
                "left by it",
                "left by all",
            ),
            rows=tuple(found),
            notes=(f"{PERCENT} n = {cohort.total} images.", *_WORST_NOTES),
        )
        for cohort, found in rows.items()
    ]


def robust_columns(records: Iterable[Record]) -> list[tuple[str, Mapping[Subject, Score]]]:
    """Returns heading and scores of what all attacks together leave, by subject (run and lambda policy).

    One column per norm, budget and cohort of images; where no row was attacked more than once there is none, because it
    would repeat the accuracy under that attack.
    """
    found: dict[tuple[Cohort, str, float], dict[Subject, Score]] = defaultdict(dict)
    several: set[tuple[Cohort, str, float]] = set()
    for model, attacks in _by_model(records).items():
        place = (model.cohort, model.norm, model.epsilon)
        for subject, mine in _by_subject(attacks).items():
            if not attacked_directly(mine):
                continue
            found[place][subject] = left_by_all(mine)
            several |= {place} if len(mine) > 1 else set()
    cohorts = {cohort for cohort, _, _ in several}
    return [
        (_robust_heading(cohort, norm, epsilon, named=len(cohorts) > 1), scores)
        for (cohort, norm, epsilon), scores in found.items()
        if (cohort, norm, epsilon) in several
    ]


def _robust_heading(cohort: Cohort, norm: str, epsilon: float, *, named: bool) -> str:
    words = f"under all attacks, {norm_words(norm)} {epsilon_words(epsilon)}"
    return f"{words} ({cohort.words})" if named else words


def attack_list_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per cohort: every attack with its protocol, what it left, what it cost, and its flags."""
    labels, flags = labels_of(records), flags_by_condition(records)
    tables = []
    for cohort, settings in by_cohort(records).items():
        found = [
            (subject.rank, protocol_rank(setting.protocol), setting.rank, (subject, measured[0]))
            for setting, rows in settings.items()
            if setting.kind == "attack"
            for subject, measured in rows.items()
        ]
        rows = [
            (*labels[subject], *_attack_cells(record, flags[record.condition]))
            for *_, (subject, record) in sorted(found, key=lambda it: it[:3])
        ]
        if rows:
            tables.append(
                Table(
                    name=cohort.file_name("attack-list"),
                    title=f"Attack by attack: {cohort.title}",
                    columns=(
                        *("run", "lambda policy", "how the attack met lambda", "attack", "accuracy", "in 8 bits"),
                        *("attacked", "forward calls", "gradient calls", "flags"),
                    ),
                    rows=tuple(rows),
                    notes=(
                        f"{PERCENT} n = {cohort.total} images. Budgets are in pixel units of [0, 1].",
                        f"A{THEN}B: B attacked the images that A left, and both are counted. Calls are per attacked "
                        "image, counted on the model.",
                    ),
                )
            )
    return tables


def _by_model(records: Iterable[Record]) -> dict[Model, list[Record]]:
    found: dict[Model, list[Record]] = defaultdict(list)
    for record in of_kinds(records, ("attack",)):
        it = record.condition
        if it.metric == "accuracy" and record.bits is not None and it.norm and it.epsilon:
            found[Model(Cohort.of(record), it.run, it.weights, it.norm, it.epsilon)].append(record)
    return dict(sorted(found.items(), key=lambda item: (item[0].cohort, item[0].run, item[0].norm, item[0].epsilon)))


def _by_subject(records: Iterable[Record]) -> dict[Subject, list[Record]]:
    """Returns the records by run and policy; where lambda was fitted anew in between, those of the newest fit."""
    found: dict[Subject, list[Record]] = defaultdict(list)
    for record in records:
        found[Subject.of(record)].append(record)
    ranked = sorted(found.items(), key=lambda item: policy_rank(item[0].policy))
    return {subject: of_newest_fit(mine) for subject, mine in ranked}


def of_newest_fit(records: Sequence[Record]) -> list[Record]:
    """Returns those of some records, at least one, that used the lambda fit of the one measured last."""
    newest = max(records, key=lambda record: record.created).condition.fit
    return [record for record in records if record.condition.fit == newest]


def attacked_directly(records: Iterable[Record]) -> bool:
    """Whether any attack asked the model under the policy that is scored: transfer tests alone say little."""
    return any(record.condition.protocol in (*WHITE_BOX, "black-box") for record in records)


def left_by_all(records: Sequence[Record]) -> Score:
    """Returns what several attacks leave, image by image, as far as single outcomes were kept; at most the fewest."""
    bits = ~0
    for record in records:
        bits &= ~0 if record.bits is None else record.bits
    fewest = min(record.correct for record in records)
    return Score(fewest if bits == ~0 else min(fewest, bits.bit_count()), records[0].total)


def _worst_rows(model: Model, attacks: Sequence[Record], labels: Labels) -> list[tuple[str, ...]]:
    by_subject = _by_subject(attacks)
    fixed = {subject: found for subject, found in by_subject.items() if fixed_lambda(subject.policy) is not None}
    best = max(fixed, key=lambda subject: left_by_all(fixed[subject]).correct, default=None)
    budget = f"{norm_words(model.norm)} {epsilon_words(model.epsilon)}"
    rows: list[tuple[str, ...]] = []
    for subject, found in by_subject.items():
        if subject in fixed and subject != best:
            continue
        run, policy = labels[subject]
        words = f"{policy} (best of {len(fixed)})" if subject == best and len(fixed) > 1 else policy
        words = words if attacked_directly(found) else f"{words}; {TRANSFER_ONLY}"
        rows.append((run, budget, words, *_worst_cells(found)))
    if len(rows) > 1:
        chosen = [subject for subject in by_subject if subject not in fixed and subject.policy != "oracle"]
        kept = [record for subject in chosen for record in by_subject[subject]]
        rows.append((rows[0][0], budget, EVERYTHING, *_worst_cells(kept or attacks)))
    return rows


def _worst_cells(records: Sequence[Record]) -> tuple[str, str, str, str]:
    strongest = min(records, key=lambda record: record.correct)
    it = strongest.condition
    words = f"{attack_words(it)} ({it.protocol})" if it.protocol not in ("", "plain") else attack_words(it)
    return (
        str(len(records)),
        words,
        score_words(Score(strongest.correct, strongest.total)),
        score_words(left_by_all(records)),
    )


def _attack_cells(record: Record, flags: list[str] | None) -> tuple[str, ...]:
    it, told = record.condition, json.loads(record.details) if record.details else {}
    attacked = told.get("attacked")
    calls = [f"{told[name] / attacked:.1f}" if attacked else MISSING for name in ("forward_calls", "gradient_calls")]
    rounded = told.get("rounded_correct")
    return (
        protocol_words(it.protocol, it.policy),
        attack_words(it),
        score_words(Score(record.correct, record.total)),
        MISSING if rounded is None else f"{100 * rounded / record.total:.2f}",
        MISSING if attacked is None else str(attacked),
        *calls,
        MISSING if flags is None else "; ".join(flags) or "none",
    )
