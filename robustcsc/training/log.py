"""Logging during training: Fabric is silenced, and TensorBoard gets the loss and accuracy of each epoch on request."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from robustcsc.errors import RobustCSCError
from robustcsc.training.loop import Epoch


def quiet_fabric() -> None:
    """Silences Fabric's messages about devices and precision."""
    for name in ("lightning_fabric", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def tensorboard_log(folder: Path) -> Iterator[Callable[[Epoch], None]]:
    """Opens a TensorBoard log and yields a function that writes the loss and accuracy of an epoch.

    Raises:
        RobustCSCError: If TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise RobustCSCError(
            "TensorBoard is not installed: type pip install tensorboard, or leave --tensorboard out."
        ) from error
    with SummaryWriter(str(folder)) as writer:

        def write(epoch: Epoch) -> None:
            writer.add_scalar("loss", epoch.loss, epoch.number)
            writer.add_scalar("training accuracy", epoch.accuracy, epoch.number)
            writer.flush()

        yield write
