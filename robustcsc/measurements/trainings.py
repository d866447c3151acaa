"""Trainings: how the weights of a run were made, as its checkpoint tells it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from robustcsc.errors import CheckpointError
from robustcsc.measurements.facts import Count, Fact, Share, Size, from_json, unsealed
from robustcsc.measurements.records import ClassOrder

#: Names and JSON values of some settings.
Settings = Mapping[str, object]


class _Heldout(Fact, frozen=True):
    fraction: Share
    seed: Count
    fingerprint: str | None = None


class _Subset(Fact, frozen=True):
    images: Count
    fingerprint: str


class _Told(Fact, frozen=True):
    """What a checkpoint may tell of its training; weights from elsewhere tell the first five at most."""

    data: str | None = None
    root: str | None = None
    class_order: ClassOrder | None = None
    classes: str | None = None
    published: str | None = None
    images: str | None = None
    heldout: _Heldout | None = None
    subset: _Subset | None = None
    recipe: dict[str, Any] | None = None
    augment: str | None = None
    adversarial: dict[str, Any] | None = None
    hardware: dict[str, Any] | None = None
    final_epoch: dict[str, Any] | None = None
    seed: Count | None = None
    trained_on: Count | None = None
    seconds: Size | None = None


def checked_training(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Returns what the metadata of a checkpoint tell of the training.

    Raises:
        ValueError: A field has a value of another type or outside its range; the words name it.
    """
    text = metadata.get("training", "{}")
    from_json(text, _Told)
    return from_json(text, dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the weights of one run were made.

    Attributes:
        weights: SHA-256 (hex) of the weights, as records name them.
        model: Name of the model.
        options: Options of its builder.
        parameters: Number of trained parameters.
        data: Data set it was trained on.
        trained_on: Number of training images.
        images: Fingerprint of the training split, before some of its images were held out.
        recipe: All settings of the recipe, in the order of their names.
        augment: Augmentation of the training images.
        adversarial: The adversary of adversarial training, ``None`` without one.
        precision: Floating-point precision of the training, e.g. ``"32-true"``.
        epochs: Passes over the training images.
        seed: Seed of the training.
        seconds: Time of the training; NaN if that was not kept.
    """

    weights: str
    model: str
    options: Settings = field(hash=False)  # mappings cannot be hashed; equal trainings still have equal hashes
    parameters: int
    data: str
    trained_on: int
    images: str
    recipe: Settings = field(hash=False)
    augment: str
    adversarial: Settings | None = field(hash=False)
    precision: str
    epochs: int
    seed: int
    seconds: float

    @property
    def without_seed(self) -> Training:
        """This training without its seed, weights and time: equal for trainings that differ in nothing else."""
        return replace(self, weights="", seed=0, seconds=0.0)

    @property
    def how(self) -> str:
        """Sorting key of the way of training: recipe, augmentation, adversary and precision."""
        return json.dumps([self.recipe, self.augment, self.adversarial, self.precision], sort_keys=True)

    @classmethod
    def read(cls, path: Path) -> Training | None:
        """Returns the facts in a checkpoint, or ``None`` if there is none or it does not tell all of them.

        Raises:
            CheckpointError: They are not what was written.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="np") as file:
                metadata = file.metadata() or {}
            try:
                metadata = unsealed(metadata)
            except ValueError as error:
                raise CheckpointError(f"{path} cannot be used ({error}): restore a copy, or train again.") from error
            spec, facts = json.loads(metadata["spec"]), checked_training(metadata)
            adversarial = facts.get("adversarial")
            return cls(
                weights=metadata["weights"],
                model=spec["name"],
                options=json.loads(metadata["options"]) if metadata.get("options") else spec["options"],
                parameters=int(metadata["parameters"]),
                data=facts["data"],
                trained_on=facts["trained_on"],
                images=facts["images"],
                recipe=dict(sorted(facts["recipe"].items())),
                augment=facts["augment"],
                adversarial=None if adversarial is None else dict(sorted(adversarial.items())),
                precision=facts["hardware"]["precision"],
                epochs=facts["recipe"]["epochs"],
                seed=facts["seed"],
                seconds=facts.get("seconds", math.nan),
            )
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError):
            return None
