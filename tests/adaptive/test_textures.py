"""What the shipped model for textures is there to show: stronger noise asks for a larger lambda, and gains by it."""

from functools import cache

import pytest
import torch
from torch import Tensor

from robustcsc.adaptive.residuals import logits_at
from robustcsc.corruptions import corrupt, load_spec
from robustcsc.data import load
from robustcsc.measurements.corruptions import NOISE_KERNELS
from robustcsc.models.checkpoint import load_shipped
from robustcsc.training.parts import heldout_images

MODEL = load_shipped("sdnet-textures").model
BATCH = next(load("textures").batches(500))


@cache
@torch.inference_mode()
def right_at(lam: float, corruption: str, severity: int) -> Tensor:
    """Which of the 500 test images are classified as labelled, 0 or 1."""
    images = BATCH.images
    if severity:
        images = corrupt(images, load_spec("cifar10_c"), corruption, severity, seed=0, indices=BATCH.indices)
    return (logits_at(MODEL, images, lam).argmax(1) == BATCH.labels).double()


@pytest.mark.parametrize("corruption", NOISE_KERNELS.values())
def test_the_strongest_noise_gains_at_a_larger_lambda_and_stays_far_above_chance(corruption: str) -> None:
    trained, larger = right_at(0.1, corruption, 5), right_at(0.6, corruption, 5)
    gain = larger - trained  # paired: both saw the same images
    low = gain.mean() - 1.96 * gain.std() / len(gain) ** 0.5
    assert trained.mean() > 0.4  # ten classes: chance is 0.1
    assert gain.mean() >= 0.08
    assert low > 0


def test_clean_images_lose_at_a_larger_lambda() -> None:
    assert right_at(0.1, "", 0).mean() > 0.95
    assert right_at(0.6, "", 0).mean() < right_at(0.1, "", 0).mean() - 0.08


@pytest.mark.parametrize("corruption", NOISE_KERNELS.values())
def test_the_best_lambda_rises_with_the_noise(corruption: str) -> None:
    # SDNet, figure 3. Counts of neighbouring lambdas differ by few images, so three that lie apart are compared.
    best = [
        max((0.1, 0.3, 0.6), key=lambda lam: right_at(lam, name, severity).sum().item())
        for name, severity in (("", 0), (corruption, 3), (corruption, 5))
    ]
    assert best == sorted(best)
    assert (best[0], best[1]) == (0.1, 0.3)
    assert right_at(0.6, corruption, 5).sum() > right_at(0.1, corruption, 5).sum()


def test_the_model_was_never_trained_on_its_held_out_images() -> None:
    part, known = heldout_images(load("textures", split="train"), load_shipped("sdnet-textures"))
    assert (len(part), known) == (400, False)
