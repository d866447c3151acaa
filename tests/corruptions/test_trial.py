"""Corruptions that cannot be applied are told before anything is corrupted."""

import pytest
import torch
from torch import Tensor

from robustcsc.corruptions import KERNELS, Spec, load_spec
from robustcsc.corruptions.trial import check_applicable
from robustcsc.data import load
from robustcsc.errors import DataError
from robustcsc.measurements.severity_tables import TableEntry


def tint(images: Tensor, seeds: Tensor, *, std: float) -> Tensor:
    if images.shape[1] != 3:
        raise DataError("tint needs colour images, not grey ones.")
    return images


def shrink(images: Tensor, seeds: Tensor, *, std: float) -> Tensor:
    if std > 4:
        raise DataError("shrink needs at least 9x9 pixels, not 8x8.")
    return images


@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch) -> Spec:
    """A table with two corruptions that grey 8x8 digits do not suit; the second from severity 5 on."""
    for name, kernel in (("tint", tint), ("shrink", shrink)):
        monkeypatch.setitem(KERNELS, name, kernel)
    levels = tuple({"std": 1.0 * severity} for severity in range(1, 6))
    names = ("tint", "gaussian_noise", "shrink", "speckle_noise")
    table = {name: TableEntry(name, "noise", True, levels) for name in names}
    return Spec("mine", 32, "nowhere", "0" * 8, table)


def test_the_first_problem_is_told_and_what_can_be_applied(spec: Spec) -> None:
    with pytest.raises(DataError) as caught:
        check_applicable(load("digits"), spec, list(spec.corruptions), (1, 5))
    assert str(caught.value) == (
        "tint needs colour images, not grey ones; leave out tint, shrink: --corruptions gaussian_noise,speckle_noise."
    )


def test_only_what_was_chosen_counts(spec: Spec) -> None:
    check_applicable(load("digits"), spec, ["gaussian_noise", "speckle_noise"], (1, 2, 3, 4, 5))
    check_applicable(load("digits"), spec, ["shrink"], (1, 4))
    with pytest.raises(DataError, match=r"9x9 pixels, not 8x8; none of the chosen .* applied to digits: choose others"):
        check_applicable(load("digits"), spec, ["shrink", "tint"], (5,))


def test_the_shipped_noises_suit_every_image() -> None:
    digits = load("digits").subset(torch.tensor([3]))
    for table in ("cifar10_c", "imagenet_c"):
        check_applicable(digits, load_spec(table), ["gaussian_noise", "shot_noise"], (1, 5))
