"""From options to a session. Heavy imports stay inside the functions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from robustcsc.cli.console import note, progress_display

if TYPE_CHECKING:
    from robustcsc.session.session import Session


@dataclass(frozen=True)
class Chosen:
    """The model and the images that the options of a command name."""

    run: str | None
    model: str | None
    weights: Path | None
    data: str | None
    root: Path | None
    download: bool = False
    image_size: int | None = None
    workers: int = 2
    limit: int | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @contextmanager
    def session(self, *, batch_size: int = 250, remeasure: bool = False) -> Iterator[Session]:
        """Opens the session, with progress and notes on standard error.

        Raises:
            RobustCSCError: There is no such run, model or device, or what the run holds cannot be read.
        """
        from robustcsc.session.choices import DataChoice
        from robustcsc.session.measuring import Measuring
        from robustcsc.session.opening import open as open_session

        with progress_display() as progress:
            yield open_session(
                self.run,
                model=self.model,
                weights=self.weights,
                data=DataChoice(self.data, self.root, self.download, self.image_size, self.workers, self.limit),
                device=self.device,
                measuring=Measuring(batch_size=batch_size, remeasure=remeasure, progress=progress, note=note),
            )
