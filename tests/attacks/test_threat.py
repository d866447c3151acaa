import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustcsc.attacks.threat import check_images, project
from robustcsc.errors import AttackError
from robustcsc.measurements.threats import NORMS, Norm, ThreatModel

IMAGES = torch.full((2, 3, 4, 4), 0.5)
LABELS = torch.tensor([0, 1])


def distance(perturbed: torch.Tensor, images: torch.Tensor, norm: str) -> float:
    """Largest distance of an image, in float64 and written differently from the library."""
    change = (perturbed.double() - images.double()).abs().flatten(1)
    return change.max().item() if norm == "linf" else change.square().sum(dim=1).sqrt().max().item()


@settings(max_examples=200, deadline=None)
@given(
    norm=st.sampled_from(NORMS),
    epsilon=st.floats(0, 1) | st.sampled_from([8 / 255, 1e-9, 1e-30]),
    seed=st.integers(0, 10_000),
    reach=st.sampled_from([1e-6, 0.03, 1.0, 100.0]),
    corner=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_projections_lie_inside_ball_and_box_to_the_last_bit(
    norm: Norm, epsilon: float, seed: int, reach: float, corner: bool, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(3, 2, 5, 5, generator=generator, dtype=dtype)
    images = images.round() if corner else images * torch.rand(3, 1, 1, 1, generator=generator, dtype=dtype) ** 20
    perturbed = images + reach * torch.randn(images.shape, generator=generator, dtype=dtype)
    projected = project(perturbed, images, ThreatModel(norm, epsilon))
    assert projected.dtype == dtype
    assert projected.min() >= 0 and projected.max() <= 1
    assert distance(projected, images, norm) <= epsilon * (1 + 1e-15)
    torch.testing.assert_close(project(projected, images, ThreatModel(norm, epsilon)), projected, rtol=0, atol=0)


def test_projection_keeps_what_is_inside() -> None:
    images = torch.rand(4, 3, 5, 5)
    inside = (images + 0.02 * torch.rand(4, 3, 5, 5)).clamp(0, 1)
    assert torch.equal(project(inside, images, ThreatModel("linf", 0.03)), inside)
    assert torch.equal(project(inside, images, ThreatModel("l2", 2.0)), inside)


def test_projection_by_hand() -> None:
    images = torch.tensor([0.5, 0.5, 0.9]).view(1, 1, 1, 3)
    perturbed = torch.tensor([0.8, 0.1, 1.5]).view(1, 1, 1, 3)
    linf = project(perturbed, images, ThreatModel("linf", 0.25))
    torch.testing.assert_close(linf.flatten(), torch.tensor([0.75, 0.25, 1.0]))
    # In the box the change is (0.3, -0.4, 0.1), of length sqrt(0.26); half that length halves it.
    l2 = project(perturbed, images, ThreatModel("l2", math.sqrt(0.26) / 2))
    torch.testing.assert_close(l2.flatten(), torch.tensor([0.65, 0.3, 0.95]))


def test_good_images_and_labels_pass() -> None:
    check_images(IMAGES, LABELS)
    check_images(IMAGES.double(), LABELS, num_classes=2)
    check_images(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1), LABELS)
    check_images(torch.empty(0, 3, 4, 4), torch.empty(0, dtype=torch.int64), num_classes=2)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES[0], LABELS, r"shape \(N, C, H, W\), not \(3, 4, 4\)"),
        ((IMAGES * 255).byte(), LABELS, "not torch.uint8"),
        (IMAGES.half(), LABELS, "not torch.float16"),
        (IMAGES * 2.5, LABELS, r"not in \[1.25, 1.25\]"),
        (IMAGES - 0.6, LABELS, "normalisation belongs inside the model"),
        (IMAGES * math.nan, LABELS, "not finite"),
        (IMAGES / 0, LABELS, "not finite"),
        (IMAGES, LABELS[:1], r"shape \(2,\)"),
        (IMAGES, LABELS.float(), "not torch.float32"),
        (IMAGES, LABELS.view(2, 1), r"of shape \(2, 1\)"),
        (IMAGES, -LABELS, "labels must be at least 0 and below the 2 classes"),
        (IMAGES, LABELS + 1, "they range from 1 to 2"),
    ],
)
def test_bad_images_and_labels_are_refused(images: torch.Tensor, labels: torch.Tensor, message: str) -> None:
    with pytest.raises(AttackError, match=message):
        check_images(images, labels, num_classes=2)


def test_one_bad_pixel_is_found() -> None:
    images = IMAGES.clone()
    images[1, 2, 3, 3] = math.nan
    with pytest.raises(AttackError, match="not finite"):
        check_images(images, LABELS)


def test_negative_labels_are_refused_without_knowing_the_classes() -> None:
    check_images(IMAGES, LABELS + 1000)
    with pytest.raises(AttackError, match="at least 0;"):
        check_images(IMAGES, LABELS - 1)
