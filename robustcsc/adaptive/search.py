"""What the fits of lambda measure: residuals, features and accuracies of one model on noisy images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from robustcsc.adaptive.blind import BlindLambda, Seen, guarded
from robustcsc.adaptive.features import features
from robustcsc.adaptive.layer_search import MOST_PASSES, Lambdas, best_of_each
from robustcsc.adaptive.residuals import Lambda, layer_residuals, logits_at, mean_residual
from robustcsc.corruptions import Spec, apply_kernel, corrupt, image_seeds, noise_levels
from robustcsc.corruptions.apply import changed_and_stored
from robustcsc.data import Batch, ImageSet
from robustcsc.data.images import as_floats
from robustcsc.errors import DataError
from robustcsc.layers.logits import finite_logits
from robustcsc.measurements.corruptions import NOISE_KERNELS
from robustcsc.measurements.estimators import Posterior
from robustcsc.measurements.fits import DEFINITIONS, Definition, NoiseLevel
from robustcsc.measurements.perturbations import Pixels
from robustcsc.progress import Progress

#: Lambdas of images, from them, their squared residuals and their squared norms.
Choice = Callable[[Tensor, Tensor, Tensor], Lambda]
#: The severity of the corruptions other than noise on which an estimator is tried.
_SEVERITY = 3


@dataclass(frozen=True)
class Level:
    """A noise level with the residual of every single image, ``(N,)`` per definition, and its features."""

    summary: NoiseLevel
    residuals: dict[Definition, Tensor]
    features: Tensor


@dataclass(frozen=True)
class Search:
    """Measures residuals and accuracies of one model on noisy images.

    Attributes:
        layers: Number of layers whose lambdas are searched for apart; 0 for one lambda of all layers only.
    """

    model: nn.Module
    grid: tuple[float, ...]
    layers: int
    spec: Spec
    pixels: Pixels
    seed: int
    batch_size: int
    device: str | torch.device

    def family(self, family: str, images: ImageSet, told: Iterator[Progress]) -> list[Level]:
        """Returns all levels of a noise family; each tells a progress of its own."""
        return [self._level(images, *level, next(told)) for level in levels_of(family, self.spec)]

    def _level(self, images: ImageSet, kernel: str, level: Mapping[str, float], progress: Progress) -> Level:
        """Returns residuals and accuracies at one noise level (Algorithm 1, steps 5-10)."""
        residuals: dict[Definition, list[Tensor]] = {d: [] for d in DEFINITIONS}
        seen: list[Tensor] = []
        done, whole = 0, (1 + MOST_PASSES * self.layers) * len(images)

        def outcomes(lambdas: Sequence[float | Lambdas], first: bool = False) -> Tensor:
            """Returns which images are right at each of several lambdas; the first time, looks at the images, too."""
            nonlocal done
            right = []
            for batch in images.batches(self.batch_size, device=self.device, as_bytes=True):
                noisy = self.noisy(batch, kernel, level)
                if first:
                    seen.append(features(noisy).cpu())
                    squared, energy = layer_residuals(self.model, noisy)
                    for d in DEFINITIONS:
                        residuals[d].append(mean_residual(squared, energy, d).double().cpu())
                right.append(torch.stack([self._right(batch, noisy, lam) for lam in lambdas]).cpu())
                done += len(batch.labels)
                progress(f"{kernel} {_words(level)}", done, whole)
            return torch.cat(right, 1)

        right = outcomes(self.grid, first=True)
        correct = right.sum(1)
        best = int(correct.argmax())
        layer_lams: Lambdas = ()
        layer_correct = 0
        if self.layers:
            start = (self.grid[best],) * self.layers
            layer_lams, right_there = best_of_each(outcomes, self.grid, start, right[best])
            layer_correct = int(right_there.sum())
            progress(f"{kernel} {_words(level)}", whole, whole)
        joined = {d: torch.cat(residuals[d]) for d in DEFINITIONS}
        summary = NoiseLevel(
            noise=kernel,
            parameters=dict(level),
            residuals={d: joined[d].mean().item() for d in DEFINITIONS},
            correct=tuple(correct.tolist()),
            total=len(images),
            best_lam=self.grid[best],
            layer_lams=layer_lams,
            layer_correct=layer_correct,
        )
        return Level(summary, joined, torch.cat(seen))

    def compare(
        self,
        images: ImageSet,
        levels: Sequence[NoiseLevel],
        choices: Mapping[str, Choice],
        progress: Progress,
    ) -> dict[str, float]:
        """Returns the accuracy of every choice of lambda when the images of a batch differ in noise.

        Each image gets one of the levels or no noise, in turn by its position.
        """
        correct = dict.fromkeys(choices, 0)
        total = 0
        for batch in images.batches(self.batch_size, device=self.device, as_bytes=True):
            turn = (batch.indices // 2) % (len(levels) + 1)
            mixed = as_floats(batch.images, self.device)
            for index, level in enumerate(levels):
                chosen = turn == index
                part = Batch(batch.images[chosen], batch.labels[chosen], batch.indices[chosen])
                if len(part.labels):
                    mixed[chosen] = self.noisy(part, level.noise, level.parameters)
            residuals = layer_residuals(self.model, mixed)
            for name, choose in choices.items():
                correct[name] += int(self._right(batch, mixed, choose(mixed, *residuals)).sum())
            total += len(batch.labels)
            progress("per-image lambda", total, len(images))
        return {name: count / total for name, count in correct.items()}

    def guarded(self, estimator: Posterior, images: ImageSet, lam0: float, progress: Progress) -> Posterior:
        """Returns an estimator with the guard that clean images and corruptions that are no noise ask for."""
        estimate = BlindLambda(estimator, lam0, self.grid).to(self.device)
        names, found = guarded_against(self.spec), []
        for done, name in enumerate(names, 1):
            severity, parts = (_SEVERITY if name != "clean" else 0), []
            with suppress(DataError):  # it cannot be applied to such images
                for batch in images.batches(self.batch_size, device=self.device, as_bytes=True):
                    changed = self._corrupted(batch, name, severity)
                    lam, gain = estimate.expected(features(changed))
                    parts.append((gain, *(self._right(batch, changed, it) for it in (lam0, lam))))
                found.append(Seen(name, severity, *(torch.cat(it).cpu() for it in zip(*parts, strict=True))))
            progress("what blind costs", done, len(names))
        return guarded(estimator, found)

    def noisy(self, batch: Batch, kernel: str, level: Mapping[str, float]) -> Tensor:
        """Returns images of a batch of bytes at a noise level."""
        if kernel == "clean":
            return as_floats(batch.images, self.device)
        # The name in the seed makes these draws differ from those of every test corruption.
        seeds = image_seeds(self.seed, f"lambda fit {kernel} {_words(level)}", 0, batch.indices)
        change = partial(apply_kernel, kernel=kernel, parameters=level, seeds=seeds)
        return changed_and_stored(batch.images, self.pixels, change)

    def _corrupted(self, batch: Batch, name: str, severity: int) -> Tensor:
        if not severity:
            return as_floats(batch.images, self.device)
        change = partial(
            corrupt, spec=self.spec, corruption=name, severity=severity, seed=self.seed, indices=batch.indices
        )
        return changed_and_stored(batch.images, self.pixels, change)

    def _right(self, batch: Batch, images: Tensor, lam: Lambda) -> Tensor:
        logits = finite_logits(logits_at(self.model, images, lam), len(images))
        return logits.argmax(1) == batch.labels


def guarded_against(spec: Spec) -> list[str]:
    """Returns on what an estimator is tried that it was not fitted to: clean images, and corruptions but noise."""
    return ["clean", *(name for name, it in spec.corruptions.items() if it.kernel not in NOISE_KERNELS.values())]


def levels_of(family: str, spec: Spec) -> list[tuple[str, Mapping[str, float]]]:
    """Returns kernel and parameters of each level of a noise family, or of clean images."""
    if family == "clean":
        return [("clean", {})]
    return [(NOISE_KERNELS[family], level) for level in noise_levels(family, spec)]


def _words(level: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in level.items())
