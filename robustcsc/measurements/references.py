"""What batch normalisation is given of clean images: what the adaptation ``shift`` compares batches with."""

from __future__ import annotations

from pathlib import Path

from robustcsc.errors import PolicyError
from robustcsc.files import write_whole
from robustcsc.measurements.facts import (
    Fact,
    Positive,
    Share,
    Size,
    digest_of,
    from_sealed_json,
    replace,
    to_sealed_json,
)
from robustcsc.measurements.records import Precision


class Channels(Fact, frozen=True, forbid_unknown_fields=True):
    """Mean and variance of every channel of what a layer of batch normalisation is given.

    Attributes:
        mean: The means.
        variance: The variances, not Bessel-corrected.
    """

    mean: tuple[float, ...]
    variance: tuple[Size, ...]


class Reference(Fact, frozen=True, forbid_unknown_fields=True):
    """What a model makes of clean held-out training images.

    The statistics that a network stores are of augmented images, and of weights that still moved: they differ from
    those of clean images by more than a batch of clean images does from another.

    Attributes:
        weights: SHA-256 of the weights of the model.
        precision: What it computed in.
        heldout: Fingerprint of the images.
        trained_on_heldout: Whether the model was trained on them, too.
        images: How many they are.
        agreement: Share of pairs of images that are answered alike.
        layers: Their statistics, in the order of the layers of batch normalisation.
        created: UTC time, ISO 8601.
    """

    weights: str
    precision: Precision
    heldout: str
    trained_on_heldout: bool
    images: Positive
    agreement: Share
    layers: tuple[Channels, ...]
    created: str

    @property
    def digest(self) -> str:
        """Short hash (12 hex digits) of everything but the time."""
        return digest_of(replace(self, created=""))[:12]

    @staticmethod
    def path(folder: Path, precision: Precision) -> Path:
        """Returns where that of a run is kept."""
        return folder / ("clean.json" if precision == "fp32" else f"clean-{precision}.json")

    def save(self, folder: Path) -> None:
        """Writes it into the folder of a run as JSON, in one step."""
        write_whole(self.path(folder, self.precision), to_sealed_json(self))

    @classmethod
    def load(cls, folder: Path, precision: Precision = "fp32") -> Reference | None:
        """Returns what `save` wrote, ``None`` if it did not.

        Raises:
            PolicyError: The file is damaged, or of another version.
        """
        path = cls.path(folder, precision)
        if not path.is_file():
            return None
        try:
            return from_sealed_json(path.read_bytes(), cls)
        except ValueError as error:
            raise PolicyError(
                f"{path} is damaged or of another version ({error}): delete it, and it will be measured again."
            ) from error
