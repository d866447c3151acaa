"""The outcome of SDNet Algorithm 1: what was measured, and the lines fitted to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from robustcsc.adaptive.residuals import Definition
from robustcsc.errors import PolicyError
from robustcsc.files import write_whole


@dataclass(frozen=True, kw_only=True)
class NoiseLevel:
    """One noise level c of Algorithm 1, as measured on held-out training images.

    Attributes:
        noise: Corruption kernel, e.g. ``"gaussian_noise"``.
        parameters: Its parameters at this level, e.g. ``{"std": 0.04}``.
        residuals: Mean over images of the residual at lambda_0 (averaged over CSC layers), per residual definition.
        correct: Number of correctly classified images for each lambda of the grid.
        total: Number of images.
        best_lam: The grid value with the most correct images (the smaller one on ties).
    """

    noise: str
    parameters: dict[str, float]
    residuals: dict[Definition, float]
    correct: tuple[int, ...]
    total: int
    best_lam: float


@dataclass(frozen=True, kw_only=True)
class Line:
    """Least-squares line ``lambda = intercept + slope * residual`` with its coefficient of determination.

    `r2` is 0 where every point has the same lambda.
    """

    slope: float
    intercept: float
    r2: float

    def predict(self, residual: Tensor, grid: Sequence[float]) -> Tensor:
        """Returns the line's lambda, clamped to the range of `grid`.

        Gradients pass the clamp unchanged (straight-through), so that it does not shut an attacker out.
        """
        lam = self.intercept + self.slope * residual
        return lam.clamp(min(grid), max(grid)).detach() + (lam - lam.detach())


@dataclass(frozen=True, kw_only=True)
class LambdaFit:
    """The outcome of Algorithm 1 for one model and one noise family.

    Attributes:
        model: Name of the model.
        weights: SHA-256 of its weights.
        dataset: Name of the data set whose training split was used.
        noise: ``"gaussian"``, ``"shot"``, ``"speckle"``, ``"impulse"`` or ``"pooled"`` (all four together).
        seed: Seed of the noise.
        heldout: Fingerprint of the held-out training images.
        trained_on_heldout: True when the model was trained on these images too (stated wherever the fit is shown).
        lam0: The training lambda, at which residuals are taken.
        grid: Candidate values of lambda, ascending.
        levels: What was measured at every noise level.
        lines: One line per residual definition (``"squared"``, ``"norm"``, ``"relative"``).
        dataset_definition: Residual definition used per data set and per batch.
        image_definition: Residual definition used per image.
        image_line: Line used per image: fitted either to the levels' means or to single images.
        image_shrinkage: Weight in [0, 1] of the batch mean in a per-image residual.
        image_candidates: Held-out accuracy of each combination that was compared: definition, what the line was fitted
            to, shrinkage, as ``{"relative/levels/0.5": 0.71, ...}``.
        created: UTC time, ISO 8601.
    """

    model: str
    weights: str
    dataset: str
    noise: str
    seed: int
    heldout: str
    trained_on_heldout: bool
    lam0: float
    grid: tuple[float, ...]
    levels: tuple[NoiseLevel, ...]
    lines: dict[Definition, Line]
    dataset_definition: Definition
    image_definition: Definition
    image_line: Line
    image_shrinkage: float
    image_candidates: dict[str, float]
    created: str

    @property
    def digest(self) -> str:
        """Short hash (12 hex digits) of everything but the time of the fit."""
        fields = {name: value for name, value in asdict(self).items() if name != "created"}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]

    def save(self, path: Path) -> None:
        """Writes the fit as JSON, replacing `path` in one step."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, (json.dumps(asdict(self), indent=2) + "\n").encode())

    @classmethod
    def load(cls, path: Path) -> LambdaFit:
        """Reads a fit written by `save`.

        Raises:
            PolicyError: If the file is not a whole fit of this version.
        """
        try:
            fields = json.loads(path.read_text())
            levels = tuple(
                NoiseLevel(**{**level, "correct": tuple(level["correct"])}) for level in fields.pop("levels")
            )
            lines = {name: Line(**line) for name, line in fields.pop("lines").items()}
            grid = tuple(fields.pop("grid"))
            image_line = Line(**fields.pop("image_line"))
            return cls(levels=levels, lines=lines, grid=grid, image_line=image_line, **fields)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise PolicyError(
                f"{path} is damaged or of another version: delete it and run `robustcsc fit-lambda` again."
            ) from error
