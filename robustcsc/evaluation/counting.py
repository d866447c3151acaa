"""Predictions become a record: the only place where the images that reports count are counted."""

from __future__ import annotations

from robustcsc.evaluation.predictions import Predictions
from robustcsc.measurements.provenance import Provenance
from robustcsc.measurements.records import (
    AttackDetails,
    BudgetDetails,
    CraftingDetails,
    Location,
    Measurement,
    Metric,
    Outcomes,
    Record,
)

Details = AttackDetails | BudgetDetails | CraftingDetails


def record_of(
    measurement: Measurement,
    found: Predictions,
    how: Provenance,
    location: Location,
    details: Details | None = None,
) -> Record:
    """Returns the record of what was predicted."""
    return Record(
        measurement=measurement,
        met=sum(found.right),
        total=len(found.right),
        lam=None if found.lam is None else round(found.lam, 6),
        outcomes=Outcomes.of(found.right) if measurement.metric is Metric.ACCURACY else None,
        provenance=how,
        location=location,
        details=details,
    )
