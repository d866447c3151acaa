"""Counts of a record that contradict each other, as only damage or a hand can make them."""

from __future__ import annotations

from robustcsc.measurements.records import AttackDetails, BudgetDetails, Outcomes, Record

#: What `BudgetDetails.minimal` says of an image that resists.
_RESISTS = 255


def check_counts(record: Record) -> None:
    """Refuses a record whose counts contradict each other.

    Raises:
        ValueError: More images met the metric than there were, or outcomes or details give another count.
    """
    images, details = record.measurement.images.count, record.details
    if not record.met <= record.total <= images:
        raise ValueError(f"met and total: {record.met} of {record.total} among {images} images cannot be")
    if record.outcomes is not None and not _agree(record.outcomes, record.met, record.total):
        raise ValueError(f"outcomes: they are not those of {record.met} of {record.total} images")
    if isinstance(details, BudgetDetails):
        largest = 2**details.levels
        if len(details.minimal) != record.total or any(largest < it < _RESISTS for it in details.minimal):
            raise ValueError(f"details.minimal: one number up to {largest} for each of {record.total} images")
        if details.minimal.count(_RESISTS) != record.met:
            raise ValueError(f"details.minimal: other images resist than the {record.met} that are counted")
    if isinstance(details, AttackDetails) and (details.rounded_correct or 0) > record.total:
        raise ValueError(f"details.rounded_correct: {details.rounded_correct} of {record.total} images cannot be")


def _agree(seen: Outcomes, met: int, total: int) -> bool:
    """Whether outcomes are those of so many images, with nothing behind the last one."""
    empty = 8 * len(seen.packed) - seen.count
    if seen.count != total or not 0 <= empty < 8:
        return False
    return int.from_bytes(seen.packed, "big") % (1 << empty) == 0 and seen.bits.bit_count() == met
