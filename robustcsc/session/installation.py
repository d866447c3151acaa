"""Whether robustcsc and the packages that it needs are installed as they should be. Imports them in functions only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module, metadata

from robustcsc.errors import error_words

#: Packages without which nothing can be measured, in the order in which one needs the other.
_NEEDED = ("torch", "torchvision", "torchattacks")

#: Requirements of other packages that robustcsc does not need.
_UNUSED = {("torchattacks", "requests")}

#: Images of the trial, and how many of them the shipped model has right at least; it is 48.
_TRIAL, _RIGHT = 50, 45


@dataclass(frozen=True)
class Problem:
    """What is wrong.

    Attributes:
        sentence: What is wrong, and what to type.
        stops: Whether nothing can be measured as long as it lasts.
    """

    sentence: str
    stops: bool = False


def version(name: str) -> str | None:
    """Returns the version of an installed package; ``None`` if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def own_requirements() -> Iterator[tuple[str, str, str]]:
    """Yields name, extra (``""`` for none) and text of each requirement of robustcsc, but those of developers."""
    from packaging.requirements import Requirement

    for text in (metadata.requires("robustcsc") or []) if version("robustcsc") else []:
        needed = Requirement(text)
        extra = str(needed.marker).partition('extra == "')[2].rstrip('"')
        if extra != "dev":
            yield needed.name, extra, f"{needed.name}{needed.specifier}"


def extras() -> dict[str, dict[str, str | None]]:
    """Returns the requirements of each optional extra, with the versions that are installed."""
    found: dict[str, dict[str, str | None]] = {}
    for name, extra, text in own_requirements():
        if extra:
            found.setdefault(extra, {})[text] = version(name)
    return found


def unmet_requirements() -> Iterator[Problem]:
    """Yields the requirements of robustcsc, and of the packages that it needs, that are not met."""
    from packaging.requirements import Requirement

    if version("robustcsc") is None:
        yield Problem("robustcsc itself is not installed here, so its requirements are not known: type pip install .")
        return
    waiting, seen = ["robustcsc"], {"robustcsc"}
    while waiting:
        owner = waiting.pop(0)
        for text in metadata.requires(owner) or []:
            needed = Requirement(text)
            if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
                continue
            found, wanted = version(needed.name), f"{needed.name}{needed.specifier}"
            if found is None or not needed.specifier.contains(found, prereleases=True):
                state = f"{needed.name} {found} is installed" if found else "it is not installed"
                asks = f"{owner} {version(owner)} asks for {wanted}, and {state}"
                harmless = f"{asks}: robustcsc works with any version of {needed.name}, or none, so keep yours."
                unused = (owner, needed.name) in _UNUSED
                yield Problem(harmless if unused else f"{asks}: type pip install '{wanted}'.")
            if found is not None and needed.name not in seen:
                seen.add(needed.name)
                waiting.append(needed.name)


def broken_packages() -> Iterator[Problem]:
    """Yields the first package that cannot be imported, or what the shipped model computes wrongly."""
    for name in _NEEDED:
        try:
            import_module(name)
        except Exception as error:  # whatever a broken installation raises
            pair = "torch torchvision" if name != "torchattacks" else name
            sentence = f"{name} cannot be imported ({error_words(error)}): type pip install --force-reinstall {pair}."
            yield Problem(sentence, stops=True)
            return
    try:
        right = _trial()
    except Exception as error:
        yield Problem(f"The shipped model fails ({error_words(error)}): install robustcsc again.", stops=True)
        return
    if right < _RIGHT:
        yield Problem(
            f"The shipped model has {right} of {_TRIAL} digits right instead of at least {_RIGHT}: the installation "
            "computes wrong numbers, install torch and robustcsc again.",
            stops=True,
        )


def _trial() -> int:
    """Returns how many of some test digits the shipped model has right."""
    import torch

    from robustcsc.data import load
    from robustcsc.data.splits import evenly_spaced
    from robustcsc.models.checkpoint import load_shipped

    batch = next(evenly_spaced(load("digits"), _TRIAL).batches(_TRIAL))
    with torch.no_grad():
        return int((load_shipped("sdnet-digits").model(batch.images).argmax(1) == batch.labels).sum())
