"""Example images side by side: each version of an image once, with what every model says of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from robustcsc.measurements.examples import Answer, ExampleSheet
from robustcsc.measurements.perturbations import Corruption
from robustcsc.measurements.policies import NoLambda, TrainingLambda
from robustcsc.reports.cohorts.words import perturbation_words, policy_words


@dataclass(frozen=True)
class Picture:
    """An image, and who says what of it.

    Attributes:
        png: The image as a file.
        answers: What each model says under each policy, by run and policy in words.
    """

    png: bytes
    answers: tuple[tuple[str, Answer], ...]


@dataclass(frozen=True)
class Compared:
    """One test image in all its versions.

    Attributes:
        position: Its place in the test split.
        label: Its class.
        versions: By what was done to it: one picture, or one for each model that an attack was made for.
    """

    position: int
    label: str
    versions: tuple[tuple[str, tuple[Picture, ...]], ...]


@dataclass(frozen=True)
class Gallery:
    """Examples of the same images.

    Attributes:
        notes: How they were chosen and made.
        examples: The examples.
    """

    notes: tuple[str, ...]
    examples: tuple[Compared, ...]


def galleries(sheets: Sequence[ExampleSheet]) -> list[Gallery]:
    """Returns the examples of all models, those of the same images side by side."""
    by_images: dict[tuple[str, str, str], list[ExampleSheet]] = defaultdict(list)
    for sheet in sheets:
        by_images[sheet.images.dataset, sheet.images.split, sheet.images.fingerprint].append(sheet)
    return [Gallery(tuple(dict.fromkeys(map(sheet_note, of))), tuple(_compared(of))) for of in by_images.values()]


def _compared(sheets: Sequence[ExampleSheet]) -> Iterable[Compared]:
    labels = {example.position: example.label for sheet in sheets for example in sheet.examples}
    for position in sorted(labels):
        pictures: dict[str, dict[bytes, list[tuple[str, Answer]]]] = defaultdict(lambda: defaultdict(list))
        for sheet in sheets:
            for version in (
                it for example in sheet.examples if example.position == position for it in example.versions
            ):
                of = pictures[perturbation_words(version.perturbation)][version.png]
                of += [(_who(sheet, answer), answer) for answer in version.answers]
        versions = ((made, tuple(Picture(png, tuple(of)) for png, of in by.items())) for made, by in pictures.items())
        yield Compared(position, labels[position], tuple(versions))


def _who(sheet: ExampleSheet, answer: Answer) -> str:
    policy = () if answer.policy == NoLambda() else (policy_words(answer.policy),)
    return ", ".join((sheet.subject.run, *policy))


def sheet_note(sheet: ExampleSheet) -> str:
    """Returns a sentence that says how the images of a sheet were chosen and made."""
    images, versions = sheet.images, sheet.examples[0].versions
    parts = [f"{len(sheet.examples)} evenly spaced images of {images.dataset} {images.split}, none chosen by hand"]
    corruptions = [it.perturbation for it in versions if isinstance(it.perturbation, Corruption)]
    tables = [(it.table.name, it.seed) for it in corruptions]
    parts += [f"corrupted with {table}, seed {seed}" for table, seed in dict.fromkeys(tables)]
    tuned = any(answer.policy == TrainingLambda() for answer in versions[0].answers)
    parts += ["adversarial images are crafted at the training lambda"] if tuned else []
    return f"{'; '.join(parts)}. Percent: the model's confidence."
