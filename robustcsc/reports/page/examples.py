"""Example images in words: what was done to them, and how they were chosen."""

from __future__ import annotations

from robustcsc.measurements.examples import ExampleSheet
from robustcsc.measurements.perturbations import Attack, Corruption, Perturbation
from robustcsc.measurements.policies import TrainingLambda
from robustcsc.reports.cohorts.origins import Origin
from robustcsc.reports.cohorts.words import attack_words, corruption_words, perturbation_name


def version_words(made: Perturbation) -> str:
    """Returns what was done to an image, e.g. ``"fog, severity 3"``."""
    match made:
        case Corruption(name=name, severity=severity):
            return f"{corruption_words(name)}, severity {severity}"
        case Attack():
            return attack_words(made)
        case _:
            return perturbation_name(made)


def sheet_note(sheet: ExampleSheet) -> str:
    """Returns a sentence that says how the images of a sheet were chosen and made."""
    images, versions = sheet.images, sheet.examples[0].versions
    parts = [f"{len(sheet.examples)} evenly spaced images of {images.dataset} {images.split}, none chosen by hand"]
    corruptions = [it.perturbation for it in versions if isinstance(it.perturbation, Corruption)]
    tables = [(Origin(it.source, it.pixels, it.table).words[1], it.seed) for it in corruptions]
    parts += [f"corrupted with {table}, seed {seed}" for table, seed in dict.fromkeys(tables)]
    tuned = any(answer.policy == TrainingLambda() for answer in versions[0].answers)
    parts += ["adversarial images are crafted at the training lambda"] if tuned else []
    return f"{'; '.join(parts)}. Percent: the model's confidence."
