"""The models by name, known without PyTorch: ``models.json``, which a test compares with the networks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from robustcsc.errors import UnknownNameError

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
}


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


def check_known(name: str, options: Iterable[str] = ()) -> None:
    """Refuses a name that is neither a model of the catalog nor one from elsewhere (``package.module:factory``).

    Args:
        name: What was typed.
        options: Names of options for its builder.

    Raises:
        UnknownNameError: The catalog has no such model, or the model no such option.
    """
    if ":" in name:
        return
    if name not in known_models():
        raise UnknownNameError("model", name, known_models())
    for option in options:
        if option not in known_models()[name].options:
            raise UnknownNameError(f"option of {name}", option, known_models()[name].options)
