"""What was measured: a `Condition` says what, a `Record` adds the counts and how they came about."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

#: Metrics that count changed predictions: among all images, and among those that are classified as labelled when clean.
FOOLING, FOOLING_OF_CORRECT = "fooling rate", "fooling rate of correct images"

#: The kind of records on the smallest budget that breaks each image.
MINIMAL = "minimal-epsilon"
#: Stands in the name of an attack between several, each of which got the images that the ones before it left.
THEN = " > "
#: Protocols whose attacker takes the gradient of what is scored.
WHITE_BOX = ("plain", "fixed", "adaptive", "grid")


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One cell of an evaluation: everything that decides the counts, and nothing else.

    Two conditions with the same `key` are the same measurement, so a store never measures one twice.

    Attributes:
        run: Name of the run folder.
        model: Name of the model in the catalog, or ``package.module:factory``.
        weights: SHA-256 of the weights (hex).
        dataset: Name of the data set.
        split: ``"train"`` or ``"test"``.
        images: Fingerprint of the images and which of them were used, e.g. ``"3f2a…/all"``.
        kind: ``"clean"``, ``"corruption"``, ``"attack"``, ``"minimal-epsilon"`` (the smallest budget of an attack, up
            to `epsilon`), ``"uap"`` (universal perturbation), ``"uap-control"`` (a random perturbation of the same
            norm) or ``"random-noise"`` (of a given energy).
        name: ``"clean"``, the corruption (``"gaussian_noise"``), the attack (``"pgd"``, ``"uap"``), the control
            (``"random-sign"``, ``"gaussian"``) or the noise (``"gaussian"``). ``"pgd > apgd"`` is APGD on the images
            that PGD left, counted together.
        severity: 1-5 for corruptions, else ``None``.
        norm: ``"linf"`` or ``"l2"`` for attacks, else ``None``.
        epsilon: Attack budget in pixel units of [0, 1] (xi of a universal perturbation); for random noise rho, its
            energy relative to that of the image; else ``None``.
        steps: Gradient steps of an attack (of the last one, of several; queries of Square), the most passes of a
            universal perturbation, else ``None``.
        restarts: Random restarts of an attack, else ``None``.
        protocol: How an attack meets lambda: ``"plain"`` (crafted at and scored with the training lambda), ``"static"``
            (crafted at the training lambda, scored at the tuned one: a transfer test), ``"adaptive"`` (crafted
            through the policy that scores it), ``"fixed"`` (crafted at and scored with one lambda), ``"grid"`` (crafted
            against the mean loss over several), ``"black-box"`` (without gradients), ``"transfer from MODEL@WEIGHTS"``
            (crafted on another model); ``""`` without an attack.
        spec: Name and short hash of the severity table, ``"cifar10_c@1a2b3c4d"``; of a universal perturbation, what it
            was crafted on and how, in words; else ``""``.
        source: ``"original"`` (uncorrupted images), ``"generated"`` (``"generated, 8 bit"`` when truncated; ``", from
            files"`` is added for files that robustcsc exported) or ``"official"`` (published -C files).
        policy: How lambda was chosen: ``"none"`` (a model without lambda), ``"train"``, ``"fixed=0.5"``, ``"adaptive"``
            (per data set), ``"adaptive-batch"``, ``"adaptive-image"``, ``"oracle"`` (uses the test labels),
            ``"worst=0.1,0.5"`` (an image has to be right at every one of these lambdas).
        fit: Short hash of the lambda fit an adaptive policy used, else ``""``.
        seed: Seed of everything random in this cell.
        batch_size: Images at a time, where the counts depend on it (attacks, whose random starts are drawn per batch,
            and lambda policies that look at the whole batch), else ``None``.
        metric: What ``correct`` counts; ``"accuracy"`` counts images classified as labelled, ``"fooling rate"`` those
            whose prediction is not that of the clean image, ``"fooling rate of correct images"`` the same among images
            that are classified as labelled when clean.
    """

    run: str
    model: str
    weights: str
    dataset: str
    split: str
    images: str
    kind: str
    name: str
    severity: int | None = None
    norm: str | None = None
    epsilon: float | None = None
    steps: int | None = None
    restarts: int | None = None
    protocol: str = ""
    spec: str = ""
    source: str = "original"
    policy: str = "none"
    fit: str = ""
    seed: int = 0
    batch_size: int | None = None
    metric: str = "accuracy"

    @cached_property
    def key(self) -> str:
        """SHA-256 (hex) over all fields except `run`, which only says where the record is kept."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "run"}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Record:
    """The counts of one measured condition.

    Attributes:
        condition: What was measured.
        correct: How many images met the metric.
        total: Out of how many.
        lam: The lambda that was used (the mean over images for per-image policies); ``None`` without lambda.
        device: Device the measurement ran on, in words (``"cpu"``, ``"NVIDIA H200"``).
        versions: Versions that can change bits: ``"robustcsc 0.1.0, torch 2.13.0, python 3.11.7"``.
        seconds: Wall-clock time.
        created: UTC time, ISO 8601.
        details: What else is worth keeping, as a JSON object with sorted keys; ``""`` if there is nothing. For a
            universal perturbation: whether crafting converged, its passes and images, and the file it is kept in. For
            an attack: what it cost, and whether its result can be trusted (`robustcsc.evaluation.adversarial`).
        outcomes: Which images met the metric, as `packed` makes it, in the order of the images; ``""`` if it was not
            kept. Records of the same images can be compared image by image.
    """

    condition: Condition
    correct: int
    total: int
    lam: float | None
    device: str
    versions: str
    seconds: float
    created: str
    details: str = ""
    outcomes: str = ""

    @property
    def bits(self) -> int | None:
        """Which images met the metric: bit 0 is the last image; ``None`` if it was not kept.

        ``first.bits & second.bits`` are the images that met it in both of two records of the same images, and
        ``(first.bits & ~second.bits).bit_count()`` is how many did only in the first.
        """
        return unpacked(self.outcomes, self.total) if self.outcomes else None

    def row(self) -> dict[str, object]:
        """Returns all fields in one flat dictionary, the condition's first."""
        parts = (self.condition, self)
        return {it.name: getattr(part, it.name) for part in parts for it in fields(part) if it.name != "condition"}


def packed(outcomes: Sequence[bool]) -> str:
    """Returns outcomes as text: base64 of one bit for each image, the first image the highest bit of the first byte."""
    size = (len(outcomes) + 7) // 8
    bits = int("0" + "".join("1" if outcome else "0" for outcome in outcomes), 2) << (8 * size - len(outcomes))
    return base64.b64encode(bits.to_bytes(size, "big")).decode()


def unpacked(text: str, total: int) -> int:
    """Returns what `packed` made of `total` outcomes as a number, whose bit 0 is the last image."""
    raw = base64.b64decode(text)
    return int.from_bytes(raw, "big") >> (8 * len(raw) - total)


def outcome_list(bits: int, total: int) -> list[bool]:
    """Returns the outcomes of `total` images in their order, from a number whose bit 0 is the last image."""
    return [bool(bits >> place & 1) for place in range(total - 1, -1, -1)]
