"""Lambda fits: what SDNet Algorithm 1 measured for one model, and the lines fitted to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from robustcsc.errors import PolicyError
from robustcsc.files import write_whole
from robustcsc.measurements.corruptions import NOISE_KERNELS
from robustcsc.measurements.estimators import Posterior
from robustcsc.measurements.facts import Count, Fact, Share, Size, from_sealed_json, to_plain, to_sealed_json
from robustcsc.measurements.perturbations import Pixels
from robustcsc.measurements.records import Precision

#: ``squared``: ``||x - A z||^2``; ``norm``: its square root; ``relative``: ``||x - A z||^2 / ||x||^2``.
Definition = Literal["squared", "norm", "relative"]
DEFINITIONS: tuple[Definition, ...] = ("squared", "norm", "relative")

#: What a lambda can be fitted to: kinds of images by the name that people type.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    **{family: (family,) for family in NOISE_KERNELS},
    "pooled": tuple(NOISE_KERNELS),
    "blind": ("clean", *NOISE_KERNELS),
}


class NoiseLevel(Fact, frozen=True, forbid_unknown_fields=True):
    """One noise level c of Algorithm 1, as measured on held-out training images.

    Attributes:
        noise: Corruption kernel, e.g. ``"gaussian_noise"``, or ``"clean"``.
        parameters: Its parameters at this level, e.g. ``{"std": 0.04}``.
        residuals: Mean over images of the residual at the training lambda (averaged over CSC layers), per definition.
        correct: Number of correctly classified images for each lambda of the grid.
        total: Number of images.
        best_lam: The grid value with the most correct images (the smallest one on ties).
        layer_lams: The best lambda of each layer; empty where all layers were given one.
        layer_correct: Number of correctly classified images at these.
    """

    noise: str
    parameters: Mapping[str, int | float]  # whole numbers stay whole, so that a digest stays what it is
    residuals: Mapping[Definition, Size]
    correct: tuple[Count, ...]
    total: Count
    best_lam: Size
    layer_lams: tuple[Size, ...] = ()
    layer_correct: Count = 0


class Line(Fact, frozen=True, forbid_unknown_fields=True):
    """Least-squares line ``lambda = intercept + slope * residual`` with its coefficient of determination.

    `r2` is 0 where every point has the same lambda.
    """

    slope: float
    intercept: float
    r2: float


class LambdaFit(Fact, frozen=True, forbid_unknown_fields=True):
    """The outcome of Algorithm 1 for one model and one noise family.

    Attributes:
        model: Name of the model.
        weights: SHA-256 of its weights.
        dataset: Name of the data set whose training split was used; a label, which `digest` ignores.
        noise: ``"gaussian"``, ``"shot"``, ``"speckle"``, ``"impulse"``, ``"pooled"`` (all four together) or ``"blind"``
            (the same and clean images, with an estimator).
        seed: Seed of the noise.
        heldout: Fingerprint of the held-out training images.
        trained_on_heldout: True when the model was trained on these images too (stated wherever the fit is shown).
        lam0: The training lambda, at which residuals are taken.
        grid: Candidate values of lambda, ascending.
        levels: What was measured at every noise level.
        lines: One line per residual definition, through the noise levels.
        dataset_definition: Residual definition used per data set and per batch.
        image_definition: Residual definition used per image.
        image_line: Line used per image: fitted either to the noise levels or to single images.
        image_candidates: Held-out accuracy in [0, 1] of each line that was compared for single images, by definition
            and what it was fitted to: ``{"squared/levels": 0.71, "squared/images": 0.70, ...}``; ``/layers`` behind it
            is a line per layer.
        created: UTC time, ISO 8601.
        precision: What the model computed in; only its measurements in the same use the fit.
        pixels: How the noisy images were stored before the model saw them.
        estimator: What estimates the lambda of a single image if nobody says which noise it has.
        layer_lines: The line of each layer in `dataset_definition`, which stands in for the one of all layers; empty
            where all layers were given one lambda.
        layer_image_lines: The line of each layer in `image_definition`, likewise; empty, too, where one line for all
            layers was right on more images.

    Examples:
        >>> import robustcsc as rc
        >>> fit = rc.open("sdnet-digits").fit_lambdas(["gaussian"], limit=40, grid=(0.1, 0.2))["gaussian"]
        >>> fit.lam0, fit.dataset_definition, len(fit.levels)
        (0.1, 'squared', 10)
        >>> fit.levels[0].parameters, fit.levels[0].best_lam
        ({'std': 0.02}, 0.1)
    """

    model: str
    weights: str
    dataset: str
    noise: str
    seed: int
    heldout: str
    trained_on_heldout: bool
    lam0: int | float
    grid: tuple[Size, ...]
    levels: tuple[NoiseLevel, ...]
    lines: Mapping[Definition, Line]
    dataset_definition: Definition
    image_definition: Definition
    image_line: Line
    image_candidates: Mapping[str, Share]
    created: str
    precision: Precision = "fp32"
    pixels: Pixels = Pixels.FLOAT
    estimator: Posterior | None = None
    layer_lines: tuple[Line, ...] = ()
    layer_image_lines: tuple[Line, ...] = ()

    @property
    def digest(self) -> str:
        """Short hash (12 hex digits) of everything but the time of the fit and the name of the data set."""
        fields = to_plain(self)
        del fields["dataset"], fields["created"]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]

    def save(self, path: Path) -> None:
        """Writes the fit as JSON, replacing `path` in one step."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, to_sealed_json(self))

    @classmethod
    def load(cls, path: Path) -> LambdaFit:
        """Returns a fit written by `save`.

        Raises:
            PolicyError: If the file is not a complete fit of this version, or was changed.
        """
        try:
            return _checked(from_sealed_json(path.read_bytes(), cls))
        except ValueError as error:
            raise PolicyError(
                f"{path} is damaged or of another version ({error}): delete it and run `robustcsc fit-lambda` again."
            ) from error


def _checked(fit: LambdaFit) -> LambdaFit:
    """Returns a fit whose parts belong together.

    Raises:
        ValueError: They do not.
    """
    if not fit.grid or list(fit.grid) != sorted(set(fit.grid)):
        raise ValueError("grid: lambdas stand there in ascending order, each once")
    if fit.dataset_definition not in fit.lines:
        raise ValueError(f"lines: there is none for {fit.dataset_definition}")
    for number, level in enumerate(fit.levels):
        if len(level.correct) != len(fit.grid) or max(level.correct) > level.total:
            raise ValueError(f"levels[{number}].correct: one number for each lambda, none above {level.total}")
        if level.best_lam not in fit.grid:
            raise ValueError(f"levels[{number}].best_lam: {level.best_lam} is not in the grid")
    return fit
