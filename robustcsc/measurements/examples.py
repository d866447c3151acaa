"""Example images as facts: a few test images, clean, corrupted and attacked, with what a model says of each."""

from __future__ import annotations

from pathlib import Path

from robustcsc.errors import StoreError
from robustcsc.files import write_whole
from robustcsc.measurements.facts import Count, Fact, Share, from_sealed_json, to_sealed_json
from robustcsc.measurements.perturbations import Perturbation
from robustcsc.measurements.policies import Policy
from robustcsc.measurements.records import Images, Subject

#: Name of the file in the folder of a run.
FILE = "examples.json"


class Answer(Fact, frozen=True):
    """What a model says of an image.

    Attributes:
        policy: How lambda was chosen.
        label: Predicted class.
        confidence: Its softmax probability, in [0, 1].
        right: Whether it is the label of the image.
    """

    policy: Policy
    label: str
    confidence: Share
    right: bool


class Version(Fact, frozen=True):
    """One version of an image.

    Attributes:
        perturbation: What was done to it.
        png: The image as a file.
        answers: What the model says of it, one answer per policy.
    """

    perturbation: Perturbation
    png: bytes
    answers: tuple[Answer, ...]


class Example(Fact, frozen=True):
    """One test image in all its versions.

    Attributes:
        position: Its place in the test split.
        label: Its class.
        versions: Clean first.
    """

    position: Count
    label: str
    versions: tuple[Version, ...]


class ExampleSheet(Fact, frozen=True):
    """The examples of one model.

    Attributes:
        subject: The model.
        images: The images that the examples are evenly spaced among.
        examples: The examples, each in the same versions.
    """

    subject: Subject
    images: Images
    examples: tuple[Example, ...]

    def save(self, folder: Path) -> None:
        """Writes the examples into the folder of a run, in place of earlier ones.

        Raises:
            StoreError: The file cannot be written.
        """
        try:
            write_whole(folder / FILE, to_sealed_json(self))
        except OSError as error:
            raise StoreError(f"Examples cannot be written to {folder}: {error.strerror or error}.") from error


def read_examples(folder: Path) -> ExampleSheet | None:
    """Returns the examples in the folder of a run, ``None`` if there are none.

    Raises:
        StoreError: The file is damaged.
    """
    try:
        return from_sealed_json((folder / FILE).read_bytes(), ExampleSheet)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StoreError(
            f"The example images in {folder / FILE} are damaged or of another version ({error}): delete the file, and "
            "make them again with `robustcsc report --examples`."
        ) from error
