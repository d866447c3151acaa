"""Flags of attack records: what speaks against an accuracy that an attack left."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from robustcsc.records import THEN, WHITE_BOX, Condition, Record
from robustcsc.report.cohorts import Cohort, Series, Setting, Subject, by_cohort, of_kinds
from robustcsc.report.table import Table
from robustcsc.report.tables import labels_of
from robustcsc.report.words import attack_words

WORDS = {
    "zero-gradients": "the gradient is exactly zero in many pixels",
    "not-deterministic": "the model does not answer twice alike",
    "loss-does-not-rise": "more steps do not raise the loss",
    "not-zero-at-a-large-budget": "some images stay right at a budget that allows any image",
    "black-box-beats-white-box": "an attack without gradients breaks more images than all with them",
    "transfer-beats-white-box": "images crafted on another model break more than all crafted on this one",
}
"""What the flags of `robustcsc.attacks.sanity` say."""

_NOTE = (
    "A flag means that the attack was too weak to say much (Athalye, Carlini & Wagner, ICML 2018): the accuracy it "
    "left is an upper bound that may be far off. No flag is no proof of strength."
)


#: Attacks that ask for logits only.
WITHOUT_GRADIENTS = ("square",)


def flags_by_condition(records: Iterable[Record]) -> dict[Condition, list[str] | None]:
    """Returns the flags of every attack record in words, ``None`` where nothing was checked.

    That an attack which knows less breaks more is seen here, because it takes all records of a model under one policy:
    the flag stands at the white-box attacks that were beaten, all of them.
    """
    found: dict[Condition, list[str] | None] = {}
    together: dict[tuple[object, ...], list[Record]] = defaultdict(list)
    for record in of_kinds(records, ("attack",)):
        it = record.condition
        told = json.loads(record.details) if record.details else {}
        flags = told.get("flags", []) if isinstance(told, dict) else []
        known = bool(flags) or (isinstance(told, dict) and "checks" in told)
        found[it] = [WORDS.get(flag, str(flag).replace("-", " ")) for flag in flags] if known else None
        together[Cohort.of(record), Subject.of(record), it.fit, it.norm, it.epsilon].append(record)
    for group in together.values():
        for flag, rivals in _beaten(group):
            for rival in rivals:
                found[rival.condition] = [*(found[rival.condition] or []), WORDS[flag]]
    return found


def _beaten(group: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    """Returns which flags the attacks of one model under one policy raise together, and at which records."""
    alone = [record for record in group if THEN not in record.condition.name]
    blind = [it for it in alone if it.condition.name.partition(" ")[0] in WITHOUT_GRADIENTS]
    foreign = [it for it in alone if it.condition.protocol.startswith("transfer")]
    rivals = [it for it in group if it.condition.protocol in WHITE_BOX and it not in blind]
    least = min((rival.correct for rival in rivals), default=0)
    return [
        (flag, rivals)
        for flag, others in (("black-box-beats-white-box", blind), ("transfer-beats-white-box", foreign))
        if any(other.correct < least for other in others)
    ]


def flag_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per cohort with a row for each flagged attack; empty where nothing was flagged."""
    labels, flags = labels_of(records), flags_by_condition(records)
    tables = []
    for cohort, settings in by_cohort(records).items():
        rows = [
            (*labels[subject], attack_words(setting), setting.protocol, flag)
            for setting, subject, record in _attacks(settings)
            for flag in flags[record.condition] or ()
        ]
        if rows:
            tables.append(
                Table(
                    name=cohort.file_name("flags"),
                    title=f"Flagged attacks: {cohort.title}",
                    columns=("run", "lambda policy", "attack", "protocol", "flag"),
                    rows=tuple(rows),
                    notes=(_NOTE,),
                )
            )
    return tables


def _attacks(settings: Mapping[Setting, Mapping[Subject, Series]]) -> list[tuple[Setting, Subject, Record]]:
    found = [
        (subject.rank, setting.rank, (setting, subject, measured[0]))
        for setting, rows in settings.items()
        if setting.kind == "attack"
        for subject, measured in rows.items()
    ]
    return [attack for *_, attack in sorted(found, key=lambda it: it[:2])]
