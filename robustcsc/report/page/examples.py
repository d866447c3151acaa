"""Example images with predictions, as `robustcsc.evaluation.examples` leaves them in the folder of a run."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from robustcsc.errors import StoreError

FOLDER, INDEX = "examples", "examples.json"


@dataclass(frozen=True)
class Answer:
    """What a model said of an image.

    Attributes:
        policy: Lambda policy in words.
        label: Predicted class.
        confidence: Its softmax probability, in [0, 1].
        right: Whether it is the label of the image.
    """

    policy: str
    label: str
    confidence: float
    right: bool


@dataclass(frozen=True)
class Version:
    """One version of an image.

    Attributes:
        what: ``"clean"``, the corruption or the attack, in words.
        png: The image.
        answers: What the model said of it, one answer per lambda policy.
    """

    what: str
    png: bytes
    answers: tuple[Answer, ...]

    @property
    def address(self) -> str:
        """The image as an address that a page can hold."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


@dataclass(frozen=True)
class Example:
    """One test image in all its versions.

    Attributes:
        position: Its place in the test split.
        label: Its class.
        versions: Clean first.
    """

    position: int
    label: str
    versions: tuple[Version, ...]


@dataclass(frozen=True)
class ExampleSheet:
    """The examples of one run.

    Attributes:
        run: Name of the run.
        note: How the images were chosen and made.
        examples: The images, each in the same versions.
    """

    run: str
    note: str
    examples: tuple[Example, ...]


def read_examples(folder: Path, run: str) -> ExampleSheet | None:
    """Returns the examples in the folder of a run, ``None`` if there are none.

    Raises:
        StoreError: The files are damaged.
    """
    index = folder / FOLDER / INDEX
    if not index.is_file():
        return None
    try:
        told = json.loads(index.read_text("utf-8"))
        examples = tuple(
            Example(
                position=int(example["position"]),
                label=str(example["label"]),
                versions=tuple(
                    Version(
                        what=str(version["what"]),
                        png=(index.parent / Path(version["file"]).name).read_bytes(),
                        answers=tuple(Answer(**answer) for answer in version["answers"]),
                    )
                    for version in example["versions"]
                ),
            )
            for example in told["examples"]
        )
        return ExampleSheet(run, str(told["note"]), examples)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"The example images in {index.parent} are damaged or of another version: delete the folder, and make "
            "them again with `robustcsc report --examples`."
        ) from error
