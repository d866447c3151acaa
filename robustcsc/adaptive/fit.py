"""SDNet Algorithm 1: fits the line from the residual of the CSC layers to the best lambda.

Source: SDNet (Dai et al., NeurIPS 2022), section 3.3, Algorithm 1, Figure 3.

Differences from the paper:
- The paper fits on training images. A network classifies the images it was trained on too well to show which lambda is
  best, so the fit uses training images that were held out from training. Test images are refused.
- The paper does not give the noise levels C and the grid of its search: see `robustcsc.corruptions.noise_levels` and
  `MULTIPLES`; both are recorded in the fit.
- ``"blind"`` fits an estimator of the lambda of single images beside the lines (`robustcsc.adaptive.blind`).
- Per image, the residual follows the content of the image more than its noise. Six lines are compared on held-out
  images, in batches whose images have different noise levels: three definitions of the residual, each fitted to the
  means of the noise levels or to single images. The most accurate line is used per image. The lambda of an image never
  depends on the other images of its batch.
- The paper has one lambda for all layers. On request each layer has a line of its own in the same residual, through its
  best lambda at every noise level (see `robustcsc.adaptive.layer_search`); per image these are six more candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

import torch
from torch import Tensor, nn

from robustcsc.adaptive.blind import BlindLambda, fit_posterior
from robustcsc.adaptive.features import features
from robustcsc.adaptive.layer_search import MOST_PASSES
from robustcsc.adaptive.lines import least_squares
from robustcsc.adaptive.policies import predict_all
from robustcsc.adaptive.residuals import Lambda, mean_residual
from robustcsc.adaptive.search import Choice, Level, Search, guarded_against, levels_of
from robustcsc.corruptions import Spec
from robustcsc.data import ImageSet
from robustcsc.errors import PolicyError, UnknownNameError
from robustcsc.layers.lambdas import lambda_layers
from robustcsc.layers.modes import evaluation_mode
from robustcsc.measurements.facts import replace
from robustcsc.measurements.fits import DEFINITIONS, FAMILIES, Definition, LambdaFit, Line
from robustcsc.measurements.passes import Fits, LambdaFitting, Passes, Piece, Plan
from robustcsc.measurements.perturbations import Pixels
from robustcsc.measurements.policies import multiples_of
from robustcsc.measurements.records import Precision
from robustcsc.progress import Progress, parts, silent


# Each argument is a choice of the user or a fact that only the caller knows and the fit records.
def fit_lambda(
    model: nn.Module,
    images: ImageSet,
    *,
    model_name: str,
    weights: str,
    noises: Sequence[str],
    spec: Spec,
    trained_on_images: bool,
    as_published: bool = True,
    precision: Precision = "fp32",
    grid: Sequence[float] | None = None,
    per_layer: bool = False,
    seed: int = 0,
    batch_size: int = 250,
    device: str | torch.device = "cpu",
    progress: Progress = silent,
    known: Mapping[str, LambdaFit] | None = None,
    measure: bool = True,
) -> Fits:
    """Returns, by noise family, the line that predicts the best lambda from the residual (Algorithm 1, steps 3-12).

    One half of the images gives the levels and the lines; the other half decides which line is used per image.

    Args:
        model: Images to logits, with CSC layers.
        images: Training images that were held out from training, at least two.
        model_name: Recorded in the fit.
        weights: SHA-256 of the weights, recorded in the fit.
        noises: Some of ``"gaussian"``, ``"shot"``, ``"speckle"``, ``"impulse"``, ``"pooled"`` (all four together) and
            ``"blind"`` (clean images, too). Families that occur twice are measured once.
        spec: Severity table; the noise levels reach from below its weakest severity to above its strongest.
        trained_on_images: Whether the model was trained on `images` too, recorded in the fit.
        as_published: Whether noisy images are stored as the table says before the model sees them, or else stay floats;
            recorded in the fit.
        precision: What `model` computes in, recorded in the fit.
        grid: Candidate values of lambda, at least 0; by default `MULTIPLES` of the training lambda.
        per_layer: Whether each layer gets a lambda of its own; a model of one layer has that anyway.
        seed: Seed of the noise.
        batch_size: Images per forward pass.
        device: Where to compute.
        progress: Called after each batch.
        known: Fits by noise family; one of the same weights, images and settings is returned instead of a new one.
        measure: Whether to measure what is not known, or else to leave it out.

    Raises:
        PolicyError: If the images are test images or fewer than two, the model has no CSC layer, or the grid has fewer
            than two different values or one below 0.
        UnknownNameError: If a noise family is unknown or none is given.

    Examples:
        >>> import robustcsc as rc
        >>> shipped, images = rc.open("sdnet-digits").trained, rc.load("digits", split="train")
        >>> fits = rc.fit_lambda(
        ...     shipped.model,
        ...     images.subset(torch.arange(40)),
        ...     model_name="sdnet-digits",
        ...     weights=shipped.weights,
        ...     noises=["gaussian"],
        ...     spec=rc.load_spec("cifar10_c"),
        ...     trained_on_images=True,
        ...     grid=(0.1, 0.2),
        ... )
        >>> {noise: len(fit.levels) for noise, fit in fits.items()}
        {'gaussian': 10}
    """
    layers = lambda_layers(model)
    lam0 = next((layer.lam0 for layer in layers.values()), None)
    grid = tuple(sorted({float(lam) for lam in (multiples_of(lam0) if grid is None else grid)}))
    if images.split != "train":
        raise PolicyError(
            "The lambda fit takes training images only: a line fitted on test images would know the answers."
        )
    if len(images) < 2 or len(grid) < 2 or not 0 <= grid[0] <= grid[-1] < float("inf"):
        raise PolicyError(
            "The lambda fit needs at least two images (--limit) and two different lambdas of at least 0 (--grid)."
        )
    if lam0 is None:
        raise PolicyError(f"{model_name} has no CSC layer, so there is no lambda to fit: choose an SDNet with --run.")
    for noise in noises or ("",):
        if noise not in FAMILIES:
            raise UnknownNameError("noise", noise, tuple(FAMILIES))
    rows = torch.arange(len(images))
    pixels = spec.pixels if as_published else Pixels.FLOAT
    families = {noise: FAMILIES[noise] for noise in noises}
    apart = len(layers) if per_layer and len(layers) > 1 else 0

    def settings(fit: LambdaFit) -> tuple[object, ...]:
        levels = [(level.noise, dict(level.parameters)) for level in fit.levels]
        how = fit.pixels, fit.grid, len(fit.layer_lines)
        return fit.weights, fit.precision, fit.seed, fit.heldout, fit.trained_on_heldout, how, levels

    def asked(noise: str) -> tuple[object, ...]:
        levels = [level for it in families[noise] for level in levels_of(it, spec)]
        return weights, precision, seed, images.fingerprint, trained_on_images, (pixels, grid, apart), levels

    fits = {it: known[it] for it in families if known and it in known and settings(known[it]) == asked(it)}
    lacking = [noise for noise in families if noise not in fits]
    pieces = fit_pieces(lacking, len(images), len(grid), apart, spec)
    if not measure:
        stored = (Piece(what=LambdaFitting(noise=it), missing=0, stored=1, images=len(images)) for it in fits)
        return Fits(fits, Plan(pieces=(*stored, *pieces)))
    model.to(device)  # outside inference mode, in which the moved parameters could not take gradients any more
    with evaluation_mode(model), torch.inference_mode():
        search = Search(model, grid, apart, spec, pixels, seed, batch_size, device)
        used = dict.fromkeys(family for noise in lacking for family in families[noise])
        told = iter(parts(progress, [it.effort for it in pieces]))
        levels = {family: search.family(family, images.subset(rows[::2]), told) for family in used}
        for noise in lacking:
            measured = [level for family in families[noise] for level in levels[family]]
            summaries = [level.summary for level in measured]
            common = _lines(measured, [level.best_lam for level in summaries])
            layered = [_lines(measured, [level.layer_lams[at] for level in summaries]) for at in range(apart)]
            image_lines: dict[str, tuple[Definition, str, tuple[Line, ...]]] = {
                f"{of}/{to}": (of, to, (line,)) for (of, to), line in common.items()
            }
            if apart:
                image_lines |= {
                    f"{of}/{to}/layers": (of, to, tuple(each[of, to] for each in layered)) for of, to in common
                }
            choices: dict[str, Choice] = {
                name: partial(_by_lines, of, lines, grid) for name, (of, _, lines) in image_lines.items()
            }
            others, estimator = images.subset(rows[1::2]), None
            if noise == "blind":
                found = fit_posterior([(it.summary, it.features) for it in measured], grid, lam0)
                estimator = search.guarded(found, others, lam0, next(told))
                choices["blind"] = partial(_by_features, BlindLambda(estimator, lam0, grid).to(device))
            candidates = search.compare(others, summaries, choices, next(told))
            if estimator is not None:
                estimator = replace(estimator, accuracy=candidates.pop("blind"))
            definition, points, lines = image_lines[max(candidates, key=candidates.__getitem__)]
            fits[noise] = LambdaFit(
                model=model_name,
                weights=weights,
                dataset=images.name,
                noise=noise,
                seed=seed,
                heldout=images.fingerprint,
                trained_on_heldout=trained_on_images,
                lam0=lam0,
                grid=grid,
                levels=tuple(summaries),
                lines={it: common[it, "levels"] for it in DEFINITIONS},
                dataset_definition="squared",
                image_definition=definition,
                image_line=common[definition, points],
                image_candidates=candidates,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                precision=precision,
                pixels=pixels,
                estimator=estimator,
                layer_lines=tuple(each["squared", "levels"] for each in layered),
                layer_image_lines=lines if len(lines) > 1 else (),
            )
    return Fits({noise: fits[noise] for noise in families})


def fit_pieces(noises: Sequence[str], images: int, lambdas: int, layers: int, spec: Spec) -> list[Piece]:
    """Returns what lambda fits ask of the model, in the order in which it is done.

    Args:
        noises: The noise families to fit.
        images: How many held-out images there are.
        lambdas: How many lambdas are tried.
        layers: How many layers get lambdas of their own; 0 for one lambda of all.
        spec: As for `fit_lambda`.
    """
    half, others = images - images // 2, images // 2
    tries = MOST_PASSES * layers  # at most, each of which tries every other lambda of a layer
    level = Passes(residual=1, forward=lambdas + tries * (lambdas - 1), exact=not layers) * half
    used = dict.fromkeys(family for noise in noises for family in FAMILIES[noise])
    pieces = [
        Piece(
            what=LambdaFitting(noise=it), missing=0, stored=0, images=half, perturbed=(1 + tries) * half, passes=level
        )
        for it in used
        for _ in levels_of(it, spec)
    ]
    for noise in noises:
        blind, lines = noise == "blind", 2 * len(DEFINITIONS) * (1 + bool(layers))
        what, judged = LambdaFitting(noise=noise), Passes(residual=1, forward=lines + blind) * others
        if blind:  # at the training lambda and at the one that is estimated
            seen = others * len(guarded_against(spec))
            guard = Passes(forward=2, exact=False) * seen
            pieces.append(Piece(what=what, missing=0, stored=0, images=others, perturbed=seen, passes=guard))
        pieces.append(Piece(what=what, missing=1, stored=0, images=others, perturbed=others, passes=judged))
    return pieces


def _by_lines(
    of: Definition, lines: Sequence[Line], grid: Sequence[float], images: Tensor, squared: Tensor, energy: Tensor
) -> Lambda:
    return predict_all(lines, mean_residual(squared, energy, of), grid)


def _by_features(estimate: BlindLambda, images: Tensor, squared: Tensor, energy: Tensor) -> Tensor:
    return estimate(features(images))  # type: ignore[no-any-return]


def _lines(measured: Sequence[Level], best: Sequence[float]) -> dict[tuple[Definition, str], Line]:
    """Returns the lines from the residual to the best lambda of each level: by definition, to level means or images."""
    lines = {}
    for definition in DEFINITIONS:
        single = [level.residuals[definition] for level in measured]
        repeated = [torch.full_like(them, lam) for them, lam in zip(single, best, strict=True)]
        lines[definition, "levels"] = least_squares([it.summary.residuals[definition] for it in measured], best)
        lines[definition, "images"] = least_squares(torch.cat(single), torch.cat(repeated))
    return lines
