"""Attacks on models with and without lambda, and what they leave of the accuracy.

Protocols are explained in `protocols`. Every record of an attack keeps which images stayed right, and says in its
details, as a JSON object, what the attack cost and whether it can be trusted:

- ``attacked``: images it worked on; ``forward_calls`` and ``gradient_calls``: images that went through the attacked
  model forwards, and that a gradient was taken for, counted by hooks on it.
- ``rounded_correct``: images that stay right after rounding to 8 bits (only where all images were attacked).
- ``checks``: `robustcsc.attacks.sanity.Checks` of the attacked model on a few images; ``flags``: what speaks against
  the accuracy, some of `robustcsc.attacks.sanity.FLAGS`. Those that compare attacks with each other are found by
  `robustcsc.report.flags`, which sees all records.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from robustcsc.attacks.catalog import Chosen
from robustcsc.measurements.threats import ThreatModel
from robustcsc.data import ImageSet
from robustcsc.errors import AttackError
from robustcsc.evaluation.cells import measure_cell
from robustcsc.evaluation.crafting import Bench, Workshop
from robustcsc.evaluation.protocols import Target, targets
from robustcsc.evaluation.subject import Subject
from robustcsc.evaluation.sweep import clean_condition
from robustcsc.progress import Progress, silent
from robustcsc.records import THEN, Record, outcome_list, packed
from robustcsc.measurements.store import ResultStore


def attack_pgd(
    subject: Subject,
    images: ImageSet,
    store: ResultStore,
    *,
    threat: ThreatModel,
    protocols: Sequence[str],
    steps: int = 20,
    step_size: float | None = None,
    restarts: int = 1,
    seed: int = 0,
    batch_size: int = 250,
    remeasure: bool = False,
    progress: Progress = silent,
) -> Iterator[Record]:
    """Yields the accuracy under projected gradient descent, as `attack_images` does for any attack.

    Args:
        subject: The model.
        images: Clean test images.
        store: Where records are kept.
        threat: Norm and budget in pixel units of [0, 1].
        protocols: Keys of `protocols.PROTOCOLS`.
        steps: Gradient steps.
        step_size: Length of a step; the attack's default when ``None``.
        restarts: Random restarts; every image keeps its worst case.
        seed: Seed of the random starts.
        batch_size: Images at a time.
        remeasure: Whether to measure again what the store has.
        progress: Told after each batch.

    Raises:
        UnknownNameError: If a protocol is unknown.
        PolicyError: If a protocol needs a lambda or a fit that the model or run lacks.
    """
    sized = {} if step_size is None else {"step_size": step_size}
    bench = Bench(
        subject=subject,
        images=images,
        store=store,
        seed=seed,
        batch_size=batch_size,
        remeasure=remeasure,
        progress=progress,
    )
    attack = Chosen("pgd", {"steps": steps, **sized}, restarts)
    yield from attack_images(bench, [attack], threat, protocols=protocols)


def attack_images(
    bench: Bench,
    attacks: Sequence[Chosen],
    threat: ThreatModel,
    *,
    protocols: Sequence[str],
    lambdas: Sequence[float] | None = None,
    source: Subject | None = None,
    in_turn: bool = False,
) -> Iterator[Record]:
    """Yields the accuracy under attacks, one record per protocol, lambda policy and attack.

    Args:
        bench: The model, the images and the store.
        attacks: The attacks.
        threat: Norm and budget in pixel units of [0, 1].
        protocols: Keys of `protocols.PROTOCOLS`.
        lambdas: The lambdas of the protocols ``fixed`` and ``grid``; by default `Subject.grid`.
        source: The model that transfer attacks are crafted on.
        in_turn: Whether an attack gets only the images that the ones before it left (where the protocol allows it); its
            record then counts them all, under a name such as ``"pgd > apgd"``. Attacks after the last image was broken
            are left out.

    Raises:
        UnknownNameError: If a protocol is unknown.
        PolicyError: If a protocol needs a lambda or a fit that the model or run lacks.
        AttackError: If an attack does not know the norm, or takes gradients under the protocol ``black-box``.
    """
    for attack in attacks:
        attack.check_norm(threat.norm)
        if "black-box" in protocols and attack.kind.gradients:
            raise AttackError(f"The protocol black-box is without gradients: leave it or the attack {attack.name} out.")
    planned = [it for name in protocols for it in targets(bench.subject, name, lambdas=lambdas, source=source)]
    workshop = Workshop(bench, threat)
    for target in planned:
        yield from attack_target(workshop, target, attacks, in_turn=in_turn)


def attack_target(
    workshop: Workshop, target: Target, attacks: Sequence[Chosen], *, in_turn: bool = False
) -> Iterator[Record]:
    """Yields the records of attacks on one target, as `attack_images` says."""
    standing: list[bool] | None = None
    before: list[str] = []
    for attack in attacks:
        records = _measure(workshop, target, attack, THEN.join([*before, attack.label]), standing)
        yield from records
        bits = records[0].bits
        if in_turn and not target.alone and bits is not None:  # records of earlier versions have no outcomes
            before.append(attack.full_label)
            standing = outcome_list(bits, records[0].total)
            if not records[0].correct:
                return


def _measure(
    workshop: Workshop, target: Target, attack: Chosen, name: str, standing: list[bool] | None
) -> list[Record]:
    """Returns one record per policy of the target; nothing is crafted if the store has them all."""
    bench, threat = workshop.bench, workshop.threat
    cell = replace(
        clean_condition(bench.subject, bench.images),
        kind="attack",
        name=name,
        norm=threat.norm,
        epsilon=float(threat.epsilon),
        steps=attack.effort,
        restarts=attack.restarts,
        protocol=target.protocol,
        seed=bench.seed,
        source="generated",
        batch_size=bench.batch_size,
    )
    crafted = workshop.crafted(target, attack, standing)

    def complete(record: Record) -> Record:
        right = outcome_list(record.bits or 0, record.total)
        told = json.loads(record.details or "{}")
        if standing is not None:
            right = [before and now for before, now in zip(standing, right, strict=True)]
            del told["rounded_correct"]
        counted = replace(record, correct=sum(right), outcomes=packed(right))
        details = {**told, **crafted.costs(), **workshop.checks(target)}
        return replace(
            counted,
            seconds=round(record.seconds + crafted.seconds, 3),
            details=json.dumps(details, sort_keys=True),
        )

    return measure_cell(
        bench.subject,
        cell,
        target.policies,
        crafted.stream,
        bench.store,
        num_classes=len(bench.images.classes),
        batch_size=bench.batch_size,
        remeasure=bench.remeasure,
        complete=complete,
    )
