"""Example images for the report: clean, corrupted and adversarial, with what the model says of them.

Corrupted images are the very ones that were measured, as a corruption depends on the image's position only. Adversarial
ones are crafted anew, since nobody keeps those that were measured.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from robustcsc.adaptive.policies import per_image
from robustcsc.attacks.catalog import craft
from robustcsc.corruptions import Spec, corrupt
from robustcsc.data import Batch, ImageSet
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.sources import images_fact
from robustcsc.layers.modes import evaluation_mode
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.classes import readable
from robustcsc.measurements.examples import Answer, Example, ExampleSheet, Version
from robustcsc.measurements.perturbations import Attack, Clean, Corruption, Perturbation
from robustcsc.measurements.policies import Policy
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.threats import DEFAULT_EPSILON, ThreatModel

#: One corruption of each group, as far as they were measured; all at one severity.
SHOWN, SEVERITY = ("gaussian_noise", "defocus_blur", "fog", "jpeg_compression"), 3


def make_examples(
    model: LoadedModel,
    images: ImageSet,
    *,
    count: int,
    spec: Spec,
    corruptions: Sequence[str] = SHOWN,
    seed: int = 0,
) -> ExampleSheet:
    """Returns `count` evenly spaced test images (or all), clean, corrupted and attacked, with the model's answers."""
    count = min(count, len(images))
    chosen = images.subset(torch.arange(count) * len(images) // count)
    (batch,) = chosen.batches(count, device=model.device)
    classes = tuple(map(readable, images.classes))
    versions: list[list[Version]] = [[] for _ in batch.labels]
    for perturbation, changed in _perturbed(model, batch, spec, corruptions, seed):
        answers = _answers(model, changed, batch.labels, classes)
        for row, image in enumerate(changed):
            versions[row].append(Version(perturbation=perturbation, png=_png(image), answers=tuple(answers[row])))
    examples = tuple(
        Example(position=int(position), label=classes[int(label)], versions=tuple(shown))
        for position, label, shown in zip(batch.indices, batch.labels, versions, strict=True)
    )
    return ExampleSheet(subject=model.subject, images=images_fact(images), examples=examples)


def _perturbed(
    model: LoadedModel, batch: Batch, spec: Spec, corruptions: Sequence[str], seed: int
) -> Iterator[tuple[Perturbation, Tensor]]:
    yield Clean(), batch.images
    for name in corruptions:
        corruption = Corruption(name=name, severity=SEVERITY, table=spec.table, pixels=spec.pixels, seed=seed)
        changed = corrupt(batch.images, spec, name, SEVERITY, seed=seed, indices=batch.indices, as_published=True)
        yield corruption, changed
    threat, step = ThreatModel("linf", DEFAULT_EPSILON["linf"]), AttackStep.of("pgd")
    changed = craft(step, model.model, batch.images, batch.labels, threat, seed=seed)
    yield Attack(steps=(step,), threat=threat, protocol=Protocol.PLAIN, seed=seed), changed


def _answers(model: LoadedModel, images: Tensor, labels: Tensor, classes: Sequence[str]) -> list[list[Answer]]:
    """Returns for each image one answer per lambda policy."""
    policies: dict[Policy, nn.Module] = {model.facts.own_policy: model.model}
    for asked in (model.facts.resolved(each, Clean()) for each in model.facts.per_image):
        policies[asked] = per_image(model.model, model.facts.fit_by_digest(asked.fit), asked)
    answers: list[list[Answer]] = [[] for _ in images]
    for policy, scored in policies.items():
        with evaluation_mode(scored), torch.inference_mode():
            confidence, predicted = scored(images).softmax(dim=1).max(dim=1)
        for row, answer in enumerate(answers):
            said, sure = int(predicted[row]), round(float(confidence[row]), 4)
            right = said == int(labels[row])
            answer.append(Answer(policy=policy, label=classes[said], confidence=sure, right=right))
    return answers


def _png(image: Tensor) -> bytes:
    """Returns an image (C, H, W) in [0, 1] as a PNG file of its own size."""
    from torchvision.transforms.functional import to_pil_image  # only here: as slow to import as torch

    content = io.BytesIO()
    to_pil_image((255 * image).round().clamp(0, 255).to(torch.uint8)).save(content, format="png")
    return content.getvalue()
