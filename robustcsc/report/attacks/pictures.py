"""Universal perturbations as pictures, which lie beside the results of their run."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustcsc.measurements.statistics import Score
from robustcsc.records import FOOLING, Record
from robustcsc.report.words import epsilon_words, norm_words, policy_words, score_words, slug


@dataclass(frozen=True)
class Picture:
    """A picture and its words.

    Attributes:
        name: File name without an ending; differs between the pictures of one report.
        title: What is shown.
        description: How it was made and what it does.
        png: The file.
    """

    name: str
    title: str
    description: str
    png: bytes

    @property
    def address(self) -> str:
        """The picture as an address that a page can hold."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


def perturbation_pictures(records: Sequence[Record], folders: Mapping[str, Path]) -> list[Picture]:
    """Returns the picture of every universal perturbation whose file still lies in the folder of its run.

    Args:
        records: What was measured.
        folders: The folders of the runs by name.
    """
    found: dict[tuple[str, str], Record] = {}
    for record in records:
        if (record.condition.kind, record.condition.metric) == ("uap", FOOLING) and record.details:
            file = json.loads(record.details).get("perturbation", "")
            found.setdefault((record.condition.run, file), record)
    pictures = []
    for (run, file), record in sorted(found.items(), key=lambda it: (it[0][0], it[1].condition.epsilon or 0, it[0][1])):
        path = folders[run] / "perturbations" / Path(file).with_suffix(".png").name if run in folders and file else None
        if path is not None and path.is_file():
            pictures.append(_picture(record, path.read_bytes()))
    return pictures


def _picture(record: Record, png: bytes) -> Picture:
    it = record.condition
    budget = f"{norm_words(it.norm or '')} {epsilon_words(it.epsilon or 0.0)}"
    rate = score_words(Score(record.correct, record.total))
    return Picture(
        name=slug("perturbation", it.run, key=(it.key,)),
        title=f"{it.run}, {policy_words(it.policy)}, {budget}, seed {it.seed}",
        description=f"Added to every image, it changes {rate} % of the predictions. Grey is zero; the caption in the "
        f"picture has the scale. It was {it.spec or 'crafted on training images'}.",
        png=png,
    )
