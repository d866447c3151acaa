"""Example images for the report: clean, corrupted and adversarial, with what the model says of them.

Corrupted images are the very ones that were measured, as a corruption depends on the image's position only. Adversarial
ones are crafted anew, since nobody keeps those that were measured.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from robustcsc.adaptive.policies import AdaptiveModel
from robustcsc.attacks.gradient import pgd
from robustcsc.corruptions import Spec, corrupt
from robustcsc.data import Batch, ImageSet
from robustcsc.errors import StoreError
from robustcsc.evaluation.subject import Subject
from robustcsc.files import write_whole
from robustcsc.layers.modes import evaluation_mode
from robustcsc.measurements.threats import DEFAULT_EPSILON, ThreatModel

#: One corruption of each group, as far as they were measured; all at one severity.
SHOWN, SEVERITY = ("gaussian_noise", "defocus_blur", "fog", "jpeg_compression"), 3
_STEPS = 20


def make_examples(
    subject: Subject,
    images: ImageSet,
    folder: Path,
    *,
    count: int,
    spec: Spec,
    corruptions: Sequence[str] = SHOWN,
    seed: int = 0,
) -> None:
    """Writes `count` evenly spaced test images with the model's answers into `folder`, replacing earlier ones.

    Args:
        subject: The model.
        images: Clean test images.
        folder: Made if it does not exist; gets ``examples.json`` and a PNG file for each version of an image.
        count: Images.
        spec: Severity table.
        corruptions: Names in `spec`.
        seed: Seed of the corruptions.

    Raises:
        StoreError: The files cannot be written.
    """
    count = min(count, len(images))
    chosen = images.subset(torch.arange(count) * len(images) // count)
    (batch,) = chosen.batches(count, device=subject.device)
    versions: list[list[dict[str, object]]] = [[] for _ in batch.labels]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.png"):
            old.unlink()
        for at, (what, changed) in enumerate(_versions(subject, batch, spec, corruptions, seed)):
            answers = _answers(subject, changed, batch.labels, images.classes)
            for row, image in enumerate(changed):
                file = f"{row}-{at}.png"
                write_whole(folder / file, _png(image))
                versions[row].append({"what": what, "file": file, "answers": answers[row]})
        examples = [
            {"position": int(position), "label": images.classes[int(label)], "versions": shown}
            for position, label, shown in zip(batch.indices, batch.labels, versions, strict=True)
        ]
        index = {"note": _note(count, images, spec, seed), "examples": examples}
        write_whole(folder / "examples.json", (json.dumps(index, indent=1) + "\n").encode())
    except OSError as error:
        raise StoreError(f"Examples cannot be written to {folder}: {error.strerror or error}.") from error


def _note(count: int, images: ImageSet, spec: Spec, seed: int) -> str:
    return (
        f"{count} evenly spaced images of {images.name} {images.split}, none chosen by hand; corrupted with "
        f"{spec.identity}, severity {SEVERITY}, seed {seed}; adversarial: PGD of {_STEPS} steps within L∞ 8/255, "
        "at the training lambda. Percent: the model's confidence."
    )


def _versions(
    subject: Subject, batch: Batch, spec: Spec, corruptions: Sequence[str], seed: int
) -> Iterator[tuple[str, Tensor]]:
    yield "clean", batch.images
    for name in corruptions:
        words = f"{name.replace('_', ' ')}, severity {SEVERITY}"
        yield words, corrupt(batch.images, spec, name, SEVERITY, seed=seed, indices=batch.indices)
    threat = ThreatModel("linf", DEFAULT_EPSILON["linf"])
    yield "PGD L∞ 8/255", pgd(subject.model, batch.images, batch.labels, threat, steps=_STEPS, seed=seed)


def _answers(
    subject: Subject, images: Tensor, labels: Tensor, classes: Sequence[str]
) -> list[list[dict[str, str | float | bool]]]:
    """Returns for each image one answer per lambda policy."""
    policies: dict[str, nn.Module] = {"training lambda" if subject.has_lambda else "no lambda": subject.model}
    if subject.has_lambda and subject.fits:
        policies["adaptive lambda (per image)"] = AdaptiveModel(subject.model, subject.fit_for(None), "image")
    answers: list[list[dict[str, str | float | bool]]] = [[] for _ in images]
    for policy, model in policies.items():
        with evaluation_mode(model), torch.inference_mode():
            confidence, predicted = model(images).softmax(dim=1).max(dim=1)
        for row, answer in enumerate(answers):
            said = int(predicted[row])
            right = said == int(labels[row])
            answer.append(
                {
                    "policy": policy,
                    "label": classes[said],
                    "confidence": round(float(confidence[row]), 4),
                    "right": right,
                }
            )
    return answers


def _png(image: Tensor) -> bytes:
    """Returns an image (C, H, W) in [0, 1] as a PNG file of its own size."""
    levels = (255 * image).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    picture = Image.fromarray(levels.squeeze(2) if levels.shape[2] == 1 else levels)
    content = io.BytesIO()
    picture.save(content, format="png")
    return content.getvalue()
