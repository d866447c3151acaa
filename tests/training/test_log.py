from __future__ import annotations

import sys
from pathlib import Path

import pytest

from robustcsc.errors import RobustCSCError
from robustcsc.training.log import tensorboard_log
from robustcsc.training.loop import Epoch


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorBoard's own
def test_the_log_holds_loss_and_accuracy_of_every_epoch(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with tensorboard_log(tmp_path) as log:
        log(Epoch(1, 2.25, 0.25, 1.0))
        log(Epoch(2, 1.5, 0.5, 1.0))
    events = reader.EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 2.25), (2, 1.5)]
    assert [(event.step, event.value) for event in events.Scalars("training accuracy")] == [(1, 0.25), (2, 0.5)]


def test_without_tensorboard_there_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(RobustCSCError, match="pip install"), tensorboard_log(tmp_path):
        pass
