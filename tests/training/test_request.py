from __future__ import annotations

from typing import Any

import pytest

from robustcsc.errors import RobustCSCError
from robustcsc.training.request import TrainingRequest


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epochs": 0}, "--epochs 0: a training has at least one epoch"),
        ({"epochs": -1}, "--epochs -1: "),
        ({"heldout": -0.5}, "--heldout -0.5: the share that is kept back is 0 to 0.9"),
        ({"heldout": 0.95}, "--heldout 0.95: "),
        ({"seed": -1}, "--seed -1: a seed is at least 0"),
    ],
)
def test_numbers_that_make_no_training_are_told_before_it_begins(settings: dict[str, Any], sentence: str) -> None:
    """From Python, too: the command line refuses them itself."""
    with pytest.raises(RobustCSCError, match=sentence):
        TrainingRequest(model="sdnet-digits", **settings)
