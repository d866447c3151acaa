"""Adversarial images as files, to be scored again: on the same model with another lambda, or on another one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save as serialized
from torch import Tensor

from robustcsc.attacks.threat import check_images
from robustcsc.data import Batch, ImageSet
from robustcsc.data.images import order_of_rows, sent
from robustcsc.errors import StoreError
from robustcsc.files import write_whole
from robustcsc.measurements.facts import from_json, replace, sealed, to_json, unsealed
from robustcsc.measurements.perturbations import Attack, SavedImages, Surrogate
from robustcsc.measurements.records import Measurement
from robustcsc.models.checkpoint import tensors_digest

_MEASUREMENT, _CLASSES, _DIGEST = "measurement", "classes", "tensors"


@dataclass(frozen=True, eq=False)
class AdversarialFile:
    """Adversarial images that were kept, all in one batch, and what they were crafted for."""

    batch: Batch
    measurement: Measurement
    num_classes: int

    @property
    def attack(self) -> Attack:
        """The attack as a perturbation of another measurement: it names the model and the pixels."""
        made, attack = self.measurement, self.measurement.perturbation
        assert isinstance(attack, Attack)
        digest = hashlib.sha256(self.batch.images.contiguous().numpy().tobytes()).hexdigest()
        crafted_on = Surrogate(model=made.subject.model, weights=made.subject.weights)
        return replace(attack, saved=SavedImages(crafted_on=crafted_on, digest=digest))

    @property
    def labels(self) -> Tensor:
        """The label of every row, (N,) int64."""
        return self.batch.labels

    @property
    def positions(self) -> Tensor:
        """The position of every row in the split that the images are of, (N,) int64."""
        return self.batch.indices

    def stream(self, device: torch.device, batch_size: int, order: Tensor | None = None) -> Iterator[Batch]:
        """Yields the images in batches on `device`; all, or some rows in their order."""
        order = torch.arange(len(self.labels)) if order is None else order
        for rows in torch.split(order, batch_size):
            yield Batch(*(sent(part[rows], device) for part in self.batch))


def save_adversarial(path: Path, batches: Iterable[Batch], measurement: Measurement, images: ImageSet) -> None:
    """Writes adversarial images with their labels and how they were made, as safetensors.

    They get the order of the clean images, as outcomes have it. The folder is made if it does not exist.

    Args:
        path: The file.
        batches: The adversarial images, in whatever order they were attacked.
        measurement: The attack.
        images: The clean images.

    Raises:
        StoreError: The file cannot be written.
    """
    parts = zip(*batches, strict=True)
    made = Batch(*(torch.cat(part).cpu() for part in parts))
    order = order_of_rows(made.indices, images.positions)
    tensors = {name: part[order].contiguous() for name, part in made._asdict().items()}
    classes = str(len(images.classes))
    facts = {_MEASUREMENT: to_json(measurement).decode(), _CLASSES: classes, _DIGEST: tensors_digest(tensors)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, serialized(tensors, sealed(facts)))  # not save_file: a full disk stays an OSError
    except OSError as error:
        raise StoreError(f"The images cannot be written to {path}: {error.strerror or error}.") from error


def load_adversarial(path: Path) -> AdversarialFile:
    """Returns saved images and how they were made.

    Raises:
        StoreError: There is no such file, it holds something else, or is not what was written.
        AttackError: The images do not lie in [0, 1].
    """
    if not path.is_file():
        raise StoreError(f"There is no file {path}: `robustcsc attack --save FILE` writes one.")
    try:
        with safetensors.safe_open(path, "pt") as opened:
            facts = unsealed(opened.metadata() or {})
            measurement = from_json(facts[_MEASUREMENT], Measurement)
            tensors = {name: opened.get_tensor(name) for name in Batch._fields}
        held = AdversarialFile(Batch(**tensors), measurement, int(facts[_CLASSES]))
        if facts.get(_DIGEST, "") not in ("", tensors_digest(tensors)):
            raise ValueError("its images are not what its SHA-256 says, so they were damaged or edited")
        _check_form(held)
    except (OSError, safetensors.SafetensorError, KeyError, ValueError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise StoreError(f"{path} holds no adversarial images of `robustcsc attack --save` ({reason}).") from error
    check_images(held.batch.images, held.batch.labels, held.num_classes)
    return held


def _check_form(held: AdversarialFile) -> None:
    """Refuses what is no batch of images, or another one than the file says.

    Raises:
        ValueError: It is.
    """
    images, labels, indices = held.batch
    if not isinstance(held.measurement.perturbation, Attack):
        raise ValueError("they were not attacked")
    if images.dtype != torch.float32 or images.ndim != 4 or labels.dtype != torch.int64 or indices.dtype != torch.int64:
        raise ValueError("images are float32, (n, C, H, W), and labels and indices int64")
    if len(images) != held.measurement.images.count or (len(images),) != labels.shape or labels.shape != indices.shape:
        raise ValueError(f"there are not {held.measurement.images.count} images, labels and indices")
    if held.num_classes < 1 or int(indices.min()) < 0:
        raise ValueError("classes and indices cannot be")
