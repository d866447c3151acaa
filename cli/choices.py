"""From options to a session. Heavy imports stay inside the functions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from robustcsc.cli.console import note, progress_display

if TYPE_CHECKING:
    from robustcsc.data import ImageSet
    from robustcsc.session.session import Session

#: Unreadable files that are named; of more only the number is told.
_NAMED_FILES = 5


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
            measuring = Measuring(batch_size=batch_size, remeasure=remeasure, progress=progress, note=note)
            yield open_session(
                self.run,
                model=self.model,
                weights=self.weights,
                data=DataChoice(self.data, self.root, self.download, self.image_size, self.workers),
                device=self.device,
                measuring=measuring,
            )


def note_unreadable(images: ImageSet) -> None:
    """Says which files had to be left out; to be called once the images have been read."""
    left_out = images.unreadable
    if left_out:
        more = "" if len(left_out) <= _NAMED_FILES else f" and {len(left_out) - _NAMED_FILES} more"
        count = "1 unreadable file was" if len(left_out) == 1 else f"{len(left_out)} unreadable files were"
        note(f"{count} left out: {', '.join(left_out[:_NAMED_FILES])}{more}.")
