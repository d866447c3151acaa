"""What a name like ``torchvision:resnet18@IMAGENET1K_V1`` means, known without PyTorch."""

from __future__ import annotations

import difflib
import re
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from robustcsc.errors import CheckpointError, ModelError, UnknownNameError


class Place(NamedTuple):
    """Where models are published.

    Attributes:
        package: The package that reads them.
        extra: The extra of this package that installs it; ``""`` if it is there anyway.
        weights: The form of a name with weights, as shown to users.
    """

    package: str
    extra: str
    weights: str


#: Places by what is typed before the colon.
PLACES = {
    "torchvision": Place("torchvision", "", "torchvision:resnet18@IMAGENET1K_V1"),
    "timm": Place("timm", "timm", "timm:resnet18.a1_in1k"),
    "hf": Place("huggingface_hub", "hub", "hf:timm/resnet18.a1_in1k"),
}


class Published(NamedTuple):
    """A model that is published.

    Attributes:
        place: A key of `PLACES`.
        name: The architecture (``resnet18``), or the repository of the Hub (``timm/resnet18.a1_in1k``).
        weights: Name of the weights (``IMAGENET1K_V1``, ``a1_in1k``), or revision of the repository; may be empty.
    """

    place: str
    name: str
    weights: str

    @property
    def has_weights(self) -> bool:
        """Whether the name says which weights are meant."""
        return self.place == "hf" or bool(self.weights)

    def __str__(self) -> str:
        """Returns the name as it is typed."""
        mark = "." if self.place == "timm" else "@"
        return f"{self.place}:{self.name}" + (f"{mark}{self.weights}" if self.weights else "")


def published(model: str) -> Published | None:
    """Returns the published model that a name means; ``None`` for a name of the catalog and a user's own code.

    Examples:
        >>> published("torchvision:resnet18@IMAGENET1K_V1")
        Published(place='torchvision', name='resnet18', weights='IMAGENET1K_V1')
        >>> published("timm:resnet18.a1_in1k").weights
        'a1_in1k'
        >>> published("mypackage.models:resnet18") is published("sdnet18") is None
        True
    """
    place, _, rest = model.partition(":")
    if place not in PLACES or place == model:
        return None
    name, _, weights = rest.partition("." if place == "timm" else "@")
    return Published(place, name, weights)


def check(model: str, *, needs_weights: bool) -> None:
    """Refuses a model that cannot be had, as far as that is known without PyTorch.

    Args:
        model: What was typed for the model; nothing is said of the catalog and of a user's own code.
        needs_weights: Whether there are no weights from a file.

    Raises:
        UnknownNameError: The place is none, but like one.
        ModelError: A package is missing, the name is incomplete, or it names no weights where they are needed.
    """
    it = published(model)
    if it is None:
        typed, colon, _ = model.partition(":")
        if colon and difflib.get_close_matches(typed, PLACES, n=1, cutoff=0.75) and not _importable(typed):
            raise UnknownNameError("place of published models", typed, PLACES)
        return
    _check_form(it)
    if needs_weights and not it.has_weights:
        raise ModelError(
            f"{model} does not say which weights: add --weights FILE, or the name of published ones, as in "
            f"{PLACES[it.place].weights}."
        )
    if needs_weights and it.place == "hf":
        from robustcsc.models.published import hub

        hub.description(it)


def weights_file(weights: Path) -> Path:
    """Returns the file of weights, fetched if they are in a repository of the Hub (``hf:OWNER/NAME``).

    Raises:
        CheckpointError: There is no such file.
        ModelError: They are published elsewhere, or the repository cannot be had.
    """
    it = published(str(weights))
    if it is None:
        if not weights.is_file():
            raise CheckpointError(f"There are no weights at {weights}: check the path.")
        return weights
    if it.place != "hf":
        raise ModelError(f"--weights {weights} is no file: name published weights with --model {weights}.")
    _check_form(it)
    from robustcsc.models.published import hub

    return hub.needed_file(it, hub.WEIGHTS)


def _check_form(it: Published) -> None:
    """Refuses a name that is incomplete, or whose package is missing."""
    place = PLACES[it.place]
    if it.place == "hf" and not re.fullmatch(r"[\w.-]+/[\w.-]+", it.name):
        raise ModelError(f"{it} names no repository of the Hub: write hf:OWNER/NAME, as in {place.weights}.")
    if not it.name:
        raise ModelError(f"{it} names no model: write it behind the colon, as in {place.weights}.")
    if find_spec(place.package) is None:
        raise ModelError(f"{it} needs the package {place.package}: pip install 'robustcsc[{place.extra}]'.")


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
