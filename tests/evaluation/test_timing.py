"""About how long a plan takes if several workers share it."""

from __future__ import annotations

from itertools import count

import pytest
import torch

from robustcsc.data import ImageSet
from robustcsc.evaluation import timing
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.sources import Inputs
from robustcsc.measurements.passes import Passes, Piece
from robustcsc.measurements.perturbations import Clean


@pytest.mark.parametrize(
    ("team", "seconds"),
    [
        (timing.ALONE, 12.0),
        (timing.Team(workers=4), 3.0),
        (timing.Team(workers=4, alone=0.5), 6.0),
        (timing.Team(workers=4, alone=0.1, starting=2.0), 5.0),
    ],
)
def test_workers_share_what_can_be_shared(
    team: timing.Team, seconds: float, model: LoadedModel, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that moves by 1 s whenever it is looked at, 60 images take 1 s to read, and 1 s to classify."""
    clock = count()
    monkeypatch.setattr("robustcsc.evaluation.timing.time.perf_counter", lambda: float(next(clock)))
    piece = Piece(what=Clean(), missing=1, stored=0, images=60, perturbed=2 * 60, passes=Passes(forward=10 * 60))
    threads = torch.get_num_threads()
    found = timing.timing([piece], model, Inputs(images=images), 60, team)
    assert found is not None and (found.fastest, found.slowest) == pytest.approx((seconds + timing.STORING,) * 2)
    assert torch.get_num_threads() == threads
