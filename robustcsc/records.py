"""What was measured: a `Condition` says what, a `Record` adds the counts and how they came about."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

#: Metrics that count changed predictions: among all images, and among those that are classified as labelled when clean.
FOOLING, FOOLING_OF_CORRECT = "fooling rate", "fooling rate of correct images"


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
        kind: ``"clean"``, ``"corruption"``, ``"attack"``, ``"uap"`` (universal perturbation), ``"uap-control"`` (a
            random perturbation of the same norm) or ``"random-noise"`` (of a given energy).
        name: ``"clean"``, the corruption (``"gaussian_noise"``), the attack (``"pgd"``, ``"uap"``), the control
            (``"random-sign"``, ``"gaussian"``) or the noise (``"gaussian"``).
        severity: 1-5 for corruptions, else ``None``.
        norm: ``"linf"`` or ``"l2"`` for attacks, else ``None``.
        epsilon: Attack budget in pixel units of [0, 1] (xi of a universal perturbation); for random noise rho, its
            energy relative to that of the image; else ``None``.
        steps: Gradient steps of an attack, the most passes of a universal perturbation, else ``None``.
        restarts: Random restarts of an attack, else ``None``.
        protocol: How an attack meets lambda: ``"plain"`` (crafted at and scored with the training lambda), ``"static"``
            (crafted at the training lambda, scored at the tuned one: a transfer test), ``"adaptive"`` (crafted
            through the policy that scores it); ``""`` without an attack.
        spec: Name and short hash of the severity table, ``"cifar10_c@1a2b3c4d"``; of a universal perturbation, what it
            was crafted on and how, in words; else ``""``.
        source: ``"original"`` (uncorrupted images), ``"generated"`` (``"generated, 8 bit"`` when truncated; ``", from
            files"`` is added for files that robustcsc exported) or ``"official"`` (published -C files).
        policy: How lambda was chosen: ``"none"`` (a model without lambda), ``"train"``, ``"fixed=0.5"``, ``"adaptive"``
            (per data set), ``"adaptive-batch"``, ``"adaptive-image"``, ``"oracle"`` (uses the test labels).
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

    @property
    def key(self) -> str:
        """SHA-256 (hex) over all fields except `run`, which only says where the record is kept."""
        fields = {name: value for name, value in asdict(self).items() if name != "run"}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


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
            universal perturbation: whether crafting converged, its passes and images, and the file it is kept in.
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

    def row(self) -> dict[str, object]:
        """Returns all fields in one flat dictionary, the condition's first."""
        measured = asdict(self)
        condition = measured.pop("condition")
        return {**condition, **measured}
