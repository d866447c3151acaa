"""Flags of attack records: what speaks against an accuracy that an attack left."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from robustcsc.records import Record
from robustcsc.report.cohorts import Series, Setting, Subject, by_cohort
from robustcsc.report.table import Table
from robustcsc.report.tables import labels_of
from robustcsc.report.words import attack_words

WORDS = {
    "zero-gradients": "the gradient is exactly zero in many pixels",
    "not-deterministic": "the model does not answer twice alike",
    "loss-does-not-rise": "more steps do not raise the loss",
    "not-zero-at-a-large-budget": "some images stay right at a budget that allows any image",
    "black-box-beats-white-box": "an attack without gradients breaks more images than those with",
    "transfer-beats-white-box": "images crafted on another model break more than those crafted on this one",
}
"""What the flags of `robustcsc.attacks.sanity` say."""

_NOTE = (
    "A flag means that the attack was too weak to say much (Athalye, Carlini & Wagner, ICML 2018): the accuracy it "
    "left is an upper bound that may be far off. No flag is no proof of strength."
)


def flags_of(record: Record) -> list[str]:
    """Returns the flags of a record in words; what its details do not say is no flag."""
    told = json.loads(record.details) if record.details else {}
    flags = told.get("flags", []) if isinstance(told, dict) else []
    return [WORDS.get(flag, str(flag).replace("-", " ")) for flag in flags]


def flag_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per cohort with a row for each flagged attack; empty where nothing was flagged."""
    labels = labels_of(records)
    tables = []
    for cohort, settings in by_cohort(records).items():
        rows = [
            (*labels[subject], attack_words(setting), setting.protocol, flag)
            for setting, subject, record in _attacks(settings)
            for flag in flags_of(record)
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
