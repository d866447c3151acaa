"""Adversarial images as files, to be scored again: on the same model with another lambda, or on another one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file

from robustcsc.attacks.catalog import Chosen
from robustcsc.attacks.threat import check_images
from robustcsc.data import Batch
from robustcsc.errors import StoreError
from robustcsc.evaluation.cells import measure_cell
from robustcsc.evaluation.crafting import Workshop
from robustcsc.evaluation.protocols import Target
from robustcsc.evaluation.subject import Subject
from robustcsc.evaluation.sweep import clean_condition
from robustcsc.files import replacing
from robustcsc.records import Condition, Record
from robustcsc.measurements.store import ResultStore

_CONDITION, _CLASSES = "condition", "classes"


def save_adversarial(workshop: Workshop, target: Target, attack: Chosen, path: Path) -> None:
    """Writes the images that an attack makes, with their labels and how they were made, as safetensors.

    Args:
        workshop: The model and its images; what is crafted here is not crafted again by it.
        target: What is attacked.
        attack: The attack.
        path: The file; its folder is made if it does not exist.

    Raises:
        StoreError: The file cannot be written.
    """
    bench = workshop.bench
    batches = list(workshop.crafted(target, attack, None).stream())
    condition = replace(
        clean_condition(bench.subject, bench.images),
        kind="attack",
        name=attack.label,
        norm=workshop.threat.norm,
        epsilon=float(workshop.threat.epsilon),
        steps=attack.effort,
        restarts=attack.restarts,
        protocol=target.protocol,
        seed=bench.seed,
        source="generated",
        batch_size=bench.batch_size,
    )
    facts = {_CONDITION: json.dumps(asdict(condition), sort_keys=True), _CLASSES: str(len(bench.images.classes))}
    tensors = {
        "images": torch.cat([batch.images for batch in batches]).cpu().contiguous(),
        "labels": torch.cat([batch.labels for batch in batches]).cpu(),
        "indices": torch.cat([batch.indices for batch in batches]).cpu(),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            save_file(tensors, partial, facts)
    except OSError as error:
        raise StoreError(f"The images cannot be written to {path}: {error.strerror or error}.") from error


def load_adversarial(path: Path) -> tuple[Batch, Condition, int]:
    """Returns saved images, how they were made, and the number of classes.

    Raises:
        StoreError: There is no such file, or it holds something else.
        AttackError: The images do not lie in [0, 1].
    """
    if not path.is_file():
        raise StoreError(f"There is no file {path}: `robustcsc attack --save FILE` writes one.")
    try:
        with safetensors.safe_open(path, "pt") as opened:
            facts = opened.metadata() or {}
            condition = Condition(**json.loads(facts[_CONDITION]))
            batch = Batch(*(opened.get_tensor(name) for name in Batch._fields))
            classes = int(facts[_CLASSES])
        if not _is_attack(condition):
            raise ValueError
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path} holds no adversarial images of `robustcsc attack --save`.") from error
    check_images(batch.images, batch.labels, classes)
    return batch, condition, classes


def _is_attack(made: Condition) -> bool:
    """Returns whether a condition read from a file is that of an attack; nothing else may enter a store from there."""
    texts = (made.name, made.protocol, made.model, made.weights, made.dataset, made.split, made.images)
    numbers = (made.epsilon, made.seed)
    return (
        made.kind == "attack"
        and made.metric == "accuracy"
        and made.norm in ("linf", "l2")
        and all(isinstance(it, str) and it for it in texts)
        and all(isinstance(it, int | float) for it in numbers)
        and all(it is None or isinstance(it, int) for it in (made.steps, made.restarts, made.batch_size))
        and made.severity is None
    )


def score_adversarial(
    subject: Subject,
    path: Path,
    store: ResultStore,
    *,
    policies: Sequence[str],
    batch_size: int = 250,
    remeasure: bool = False,
) -> list[Record]:
    """Measures the accuracy on saved images and returns one record per policy.

    The protocol of the records says on which model the images were crafted, and has the beginning of their SHA-256.

    Args:
        subject: The model.
        path: The file.
        store: Where records are kept.
        policies: As `Subject.policies` returns them.
        batch_size: Images at a time.
        remeasure: Whether to measure again what the store has.

    Raises:
        StoreError: There is no such file, or it holds something else.
        RobustCSCError: The model is made for other images or classes.
    """
    saved, made, classes = load_adversarial(path)
    digest = hashlib.sha256(saved.images.contiguous().numpy().tobytes()).hexdigest()
    cell = replace(
        made,
        run=subject.run,
        model=subject.model_name,
        weights=subject.weights,
        protocol=f"{made.protocol}, saved from {made.model}@{made.weights[:8]} as {digest[:8]}",
    )

    def stream() -> Iterator[Batch]:
        for rows in torch.split(torch.arange(len(saved.labels)), batch_size):
            yield Batch(*(part[rows].to(subject.device) for part in saved))

    return measure_cell(
        subject, cell, policies, stream, store, num_classes=classes, batch_size=batch_size, remeasure=remeasure
    )
