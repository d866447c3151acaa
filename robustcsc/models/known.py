"""The models by name, known without PyTorch: ``models.json``, which a test compares with the networks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import isfinite
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any

from robustcsc.errors import ModelError, UnknownNameError

#: Sources of the models of a family, by the name of its file.
PAPERS: dict[str, str] = {
    "resnet": "He et al., CVPR 2016",
    "sdnet": "Dai et al., NeurIPS 2022",
    "plainnet": "Springenberg et al., ICLR 2015 workshop; Tang et al., arXiv 2020",
    "wide_resnet": "Zagoruyko and Komodakis, BMVC 2016",
    "detrame": "Tang et al., arXiv 2020",
    "res_csc": "Zhang and Zhang, arXiv 2019",
    "msd_csc": "Zhang and Zhang, arXiv 2019; Pelt and Sethian, PNAS 2018",
    "ml_csc": "Zhang and Zhang, arXiv 2019; Papyan et al., JMLR 2017",
    "tddl": "Tirer and Giryes, EUSIPCO 2018",
    "mnist_cnn": "Vedaldi and Lenc, ACM MM 2015; Tirer and Giryes, EUSIPCO 2018",
    "mdeq": "Bai et al., NeurIPS 2020",
    "scn": "Sun et al., ICIP 2018; Dai et al., NeurIPS 2022",
    "ddl": "after Mahdizadehaghdam et al., IEEE TIP 2019",
}


#: The embedded images that a model is made for, where that is not the digits.
_MADE_FOR = {"resnet-textures": "textures", "sdnet-textures": "textures"}


@dataclass(frozen=True)
class KnownModel:
    """A model of the catalog.

    Attributes:
        family: Name of its file.
        parameters: How many it has, for 10 classes and the images it is made for.
        layers: How many layers of a kind have weights, without normalisation.
        about: What it is.
        options: Options of its builder with their defaults.
    """

    family: str
    parameters: int
    layers: Mapping[str, int]
    about: str
    options: Mapping[str, Any]


@cache
def known_models() -> Mapping[str, KnownModel]:
    """Returns the models of the catalog by name.

    Examples:
        >>> known_models()["resnet20"].parameters
        272474
    """
    content = json.loads(files("robustcsc.models").joinpath("models.json").read_text("utf-8"))
    return {name: KnownModel(**facts) for name, facts in content.items()}


def images_for(name: str) -> str:
    """Returns the embedded data set that a model is trained on if none is named: the digits, unless made for another.

    Examples:
        >>> images_for("sdnet-textures"), images_for("resnet20")
        ('textures', 'digits')
    """
    return _MADE_FOR.get(name, "digits")


def check_known(name: str, options: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Refuses a name that is neither a model of the catalog nor one from elsewhere (``package.module:factory``).

    Args:
        name: What was typed.
        options: Options for its builder; those of the catalog are of the kind of their defaults.

    Raises:
        UnknownNameError: The catalog has no such model, or the model no such option.
        ModelError: The value of an option is of another kind.
    """
    if ":" in name:
        return
    if name not in known_models():
        raise UnknownNameError("model", name, known_models())
    known = known_models()[name].options
    for option, value in options.items():
        if option not in known:
            raise UnknownNameError(f"option of {name}", option, known)
        for kind, (what, fits) in _KINDS.items():
            if type(known[option]) is kind and not fits(value):
                example = typed_options({option: known[option]})
                raise ModelError(f"{typed_options({option: value})} is not {what}, as in {example}.")


def typed_options(options: Mapping[str, Any]) -> str:
    """Returns options of a builder as they are typed.

    Examples:
        >>> typed_options({"atoms": 8, "signed": True})
        '--model-option atoms=8 --model-option signed=true'
    """
    written = {
        name: value if isinstance(value, str) else json.dumps(value, default=str) for name, value in options.items()
    }
    return " ".join(f"--model-option {name}={value}" for name, value in written.items())


#: The largest size or number of steps of a layer, far above any that computes in a lifetime.
_LARGEST = 100_000


def _is_size(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and 0 < int(value) <= _LARGEST


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)


#: What the value of an option has to be, by the kind of its default: whole numbers are sizes and counts.
_KINDS: dict[type, tuple[str, Callable[[object], bool]]] = {
    int: (f"a whole number of at least 1 and at most {_LARGEST}", _is_size),
    float: ("a number", _is_number),
    bool: ("true or false", lambda value: isinstance(value, bool)),
}
