"""Flags of attacks: what speaks against an accuracy that an attack left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from robustcsc.measurements.perturbations import Attack
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.records import AttackDetails, Flag, Measurement, Record
from robustcsc.reports.cohorts.cohorts import Cohort, Variant, fit_of, of_kinds

FLAG_WORDS = {
    Flag.ZERO_GRADIENTS: "the gradient is exactly zero in many pixels",
    Flag.NOT_DETERMINISTIC: "the model does not answer twice alike",
    Flag.LOSS_DOES_NOT_RISE: "more steps do not raise the loss",
    Flag.NOT_ZERO_AT_A_LARGE_BUDGET: "some images stay right at a budget that allows any image",
    Flag.GRADIENTS_DIFFER: "the implicit gradient is not that of the steps that were computed",
    Flag.BLACK_BOX_BEATS_WHITE_BOX: "an attack without gradients breaks more images than all with them",
    Flag.TRANSFER_BEATS_WHITE_BOX: "images crafted on another model break more than all crafted on this one",
}

FLAGS_NOTE = (
    "A flag means that the attack was too weak to say much (Athalye, Carlini & Wagner, ICML 2018): the accuracy it "
    "left is an upper bound that may be far off. No flag is no proof of strength."
)

Flags = Mapping[Measurement, tuple[Flag, ...] | None]


def is_white_box(made: Attack) -> bool:
    """Whether the attacker takes gradients of the model and policy that are scored."""
    return made.saved is None and made.protocol.white_box


def flags_by_measurement(records: Iterable[Record]) -> Flags:
    """Returns the flags of every attack, ``None`` where nothing was checked.

    Whether an attack that knows less breaks more is decided here, over all records of a model under one policy: the
    flag goes to all white-box attacks, as all were beaten.
    """
    found: dict[Measurement, tuple[Flag, ...] | None] = {}
    together: dict[tuple[object, ...], list[tuple[Attack, Record]]] = defaultdict(list)
    for record in of_kinds(records, Attack):
        made, details = record.measurement.perturbation, record.details
        checks = details.checks if isinstance(details, AttackDetails) else None
        found[record.measurement] = checks.flags if checks else None
        assert isinstance(made, Attack)
        together[Cohort.of(record), Variant.of(record), fit_of(record), made.threat].append((made, record))
    for group in together.values():
        raised, beaten = _raised_together(group)
        for measurement in beaten if raised else ():
            found[measurement] = (*(found[measurement] or ()), *raised)
    return found


def _raised_together(group: Sequence[tuple[Attack, Record]]) -> tuple[tuple[Flag, ...], list[Measurement]]:
    """Returns which flags the attacks on one model under one policy raise together, and the white-box attacks."""
    single = [(made, record.met) for made, record in group if len(made.steps) == 1]
    blind = [correct for made, correct in single if not made.steps[0].kind.gradients]
    foreign = [correct for made, correct in single if made.protocol is Protocol.TRANSFER]
    white = [
        record for made, record in group if is_white_box(made) and (len(made.steps) > 1 or made.steps[0].kind.gradients)
    ]
    least = min((record.met for record in white), default=0)
    found = {Flag.BLACK_BOX_BEATS_WHITE_BOX: blind, Flag.TRANSFER_BEATS_WHITE_BOX: foreign}
    raised = tuple(flag for flag, counts in found.items() if any(correct < least for correct in counts))
    return raised, [record.measurement for record in white]
