"""What speaks against every figure of a model of the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from robustcsc.measurements.provenance import Doubt
from robustcsc.measurements.records import Record
from robustcsc.presentation.table import Column, Table
from robustcsc.reports.cohorts.cells import WHO
from robustcsc.reports.cohorts.cohorts import Cohort, Variant, labels_of

if TYPE_CHECKING:
    from robustcsc.evaluation.doubts import Seen

#: What was seen, with the model as its subject.
DOUBT_WORDS = {
    Doubt.PROBABILITIES: "returns probabilities, not logits: attacks on it are weaker than they look",
    Doubt.RANDOM: "answers the same images differently each time: dropout or noise is active in evaluation mode",
    Doubt.DEPENDS_ON_BATCH: "answers an image differently in another batch: batch statistics are active in evaluation "
    "mode, so that counts change with --batch-size",
    Doubt.NOT_ALONE: "fails on an image alone: --limit and --batch-size must leave no batch of one image",
    Doubt.NOT_NORMALISED: "is right far more often on normalised images: its normalisation is missing (--mean, --std)",
}


def seen_words(model: str, seen: Seen) -> str:
    """Returns the line about what was seen of a model before it is measured."""
    found = f"{model} on {seen.images} clean images: {seen.right} right"
    if seen.doubts:
        return f"{found}. {' '.join(f'It {DOUBT_WORDS[it]}.' for it in seen.doubts)}"
    return f"{found}, one finite logit per class, the same each time and in any batch."


def doubt_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per cohort with a row for each doubt about a model; empty where there is none."""
    labels = labels_of(records)
    rows: dict[Cohort, dict[tuple[str, str], None]] = {}
    for record in (it for it in records if it.provenance.doubts):
        label = labels[Variant.of(record)]
        for doubt in record.provenance.doubts:
            rows.setdefault(Cohort.of(record), {})[label[0], DOUBT_WORDS[doubt]] = None
    columns = (WHO[0], Column("doubt"))
    return [
        Table(cohort.file_name("doubts"), cohort.titled("Doubts about models"), columns, tuple(found))
        for cohort, found in rows.items()
    ]
