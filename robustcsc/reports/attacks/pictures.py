"""Universal perturbations as pictures, which lie beside the results of their run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from robustcsc.measurements.perturbations import Universal
from robustcsc.measurements.records import CraftingDetails, Metric, Record
from robustcsc.presentation.picture import Picture
from robustcsc.presentation.words import slug
from robustcsc.reports.attacks.fooling import crafting_words
from robustcsc.reports.cohorts.cells import accuracy_of, percentages
from robustcsc.reports.cohorts.words import policy_words, threat_words


def perturbation_pictures(records: Sequence[Record], folders: Mapping[str, Path]) -> list[Picture]:
    """Returns the picture of every universal perturbation whose file still lies in the folder of its run.

    Args:
        records: What was measured.
        folders: The folders of the runs by name.
    """
    found: dict[tuple[str, float, str], tuple[Universal, Record]] = {}
    for record in records:
        it, made = record.measurement, record.measurement.perturbation
        if isinstance(made, Universal) and isinstance(record.details, CraftingDetails) and it.metric is Metric.FOOLING:
            found.setdefault((it.subject.run, made.threat.epsilon, record.details.file), (made, record))
    pictures = []
    for (run, _, file), (made, record) in sorted(found.items(), key=lambda item: item[0]):
        path = folders[run] / "perturbations" / Path(file).with_suffix(".png").name if run in folders and file else None
        if path is not None and path.is_file():
            pictures.append(_picture(made, record, path.read_bytes()))
    return pictures


def _picture(made: Universal, record: Record, png: bytes) -> Picture:
    it, (column,) = record.measurement, percentages([record.measurement.metric])
    return Picture(
        name=slug("perturbation", it.subject.run, key=(it.key,)),
        title=f"{it.subject.run}, {policy_words(it.policy)}, {threat_words(made.threat)}, seed {made.crafting.seed}",
        description=f"Added to every image, it changes {column.text(accuracy_of(record))} % of the predictions. Grey "
        f"is zero; the caption in the picture has the scale. It was {crafting_words(made.crafting)}.",
        png=png,
    )
