"""Which layers have two gradients, and that a block changes it for its time only."""

import pytest
from torch import nn

from robustcsc.layers.gradients import implicit_layers, unrolled_gradients
from robustcsc.layers.patch_code import PatchCode2d


def test_only_implicit_layers_are_changed_and_changed_back() -> None:
    implicit, unrolled = PatchCode2d(3, 4, 3), PatchCode2d(3, 4, 3, gradient="unrolled")
    model = nn.Sequential(nn.Conv2d(3, 3, 1), implicit, nn.Sequential(unrolled))
    assert implicit_layers(model) == [implicit]
    with pytest.raises(RuntimeError), unrolled_gradients(model):
        assert [implicit.gradient, unrolled.gradient] == ["unrolled", "unrolled"]
        assert implicit_layers(model) == []
        raise RuntimeError
    assert [implicit.gradient, unrolled.gradient] == ["implicit", "unrolled"]
