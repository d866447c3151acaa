"""The classes of a model by logit: those of ImageNet, and those that a file names.

Folders of ImageNet and of its subsets (ImageNet-A, ImageNet-R, Imagenette) are named by WordNet synsets, ``n01440764``.
Their order as text is that of the 1,000 logits of ImageNet models, so a whole ImageNet folder needs no list; the labels
of a subset do.

Source of the list: the ILSVRC-2012 synsets in the order of their index, as in Keras' ``imagenet_class_index.json`` and
timm's ``imagenet_synsets.txt``, with the names of torchvision (``torchvision.models``, metadata of the weights).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path

from robustcsc.errors import DataError


@cache
def imagenet_classes() -> Mapping[str, str]:
    """Returns the 1,000 synsets of ImageNet in the order of their logits, each with its name in English.

    Examples:
        >>> synsets = list(imagenet_classes())
        >>> synsets.index("n02123045"), imagenet_classes()["n02123045"]
        (281, 'tabby')
    """
    text = (resources.files("robustcsc") / "data" / "imagenet_classes.txt").read_text("utf-8")
    return dict(line.split(" ", 1) for line in text.splitlines())


def readable(name: str) -> str:
    """Returns the English name of a synset of ImageNet; any other name as it is."""
    return imagenet_classes().get(name, name)


def are_synsets(names: Sequence[str]) -> bool:
    """Returns whether class folders are some of ImageNet's, and not all."""
    known = imagenet_classes()
    return len(names) < len(known) and all(name in known for name in names)


def read_classes(path: Path) -> tuple[str, ...]:
    """Returns the classes of a model in the order of its logits, from a text file.

    Every line is the name of a class folder, the first for logit 0, or ``NAME=INDEX`` in any order. Empty lines and
    those that begin with ``#`` say nothing.

    Raises:
        DataError: The file cannot be read, names a class or an index twice, or leaves an index out.
    """
    try:
        text = path.expanduser().read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(
            f"--classes {path} cannot be read: give a text file with the name of a class a line."
        ) from error
    lines = [line for each in text.splitlines() if (line := each.strip()) and not line.startswith("#")]
    numbered = [match for line in lines if (match := re.fullmatch(r"(.*\S)\s*=\s*(\d+)", line))]
    if numbered and len(numbered) < len(lines):
        raise DataError(f"--classes {path} has an index, NAME=INDEX, in some lines only: give it in all, or in none.")
    places = [int(match[2]) for match in numbered] or range(len(lines))
    names = [match[1] for match in numbered] or lines
    for what, its in (("class", names), ("index", list(map(str, places)))):
        for it, count in Counter(its).items():
            if count > 1:
                raise DataError(f"--classes {path} has the {what} {it} {count} times: give each once.")
    if missing := sorted(set(range(len(places))) - set(places)):
        raise DataError(f"--classes {path} names {len(places)} classes, but none has the index {missing[0]}.")
    if not names:
        raise DataError(f"--classes {path} names no class: give the name of a class a line.")
    return tuple(name for _, name in sorted(zip(places, names, strict=True)))
