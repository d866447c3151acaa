"""Runs side by side, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from robustcsc import runs
from robustcsc.errors import StoreError
from robustcsc.reports.verdict.comparison import Comparison, comparison
from robustcsc.runs import Run
from robustcsc.session.choices import run_of
from robustcsc.session.results import measured_records

if TYPE_CHECKING:
    from robustcsc.session.session import Session


def compare(of: Sequence[Session | Run | str]) -> Comparison:
    """Returns how runs differ on the images that all of them were measured on, each image compared with itself.

    Args:
        of: Sessions, runs or names of runs, at least two.

    Raises:
        StoreError: There are fewer than two, one has no results, they were not measured on the same images, or single
            outcomes were not kept.

    Examples:
        >>> import robustcsc as rc
        >>> sdnet = rc.open("sdnet-digits")
        >>> images = sdnet.images(limit=50)
        >>> same = rc.open("same", model=sdnet.model.model, images=images)
        >>> measured = [session.evaluate(images, policies=["train"]) for session in (sdnet, same)]
        >>> print(str(rc.compare([sdnet, same])).partition(" differ from that of ")[2])
        sdnet-digits at its training lambda (+0.0 points, [-3.8, 3.8], p = 1.00).
    """
    once = {it.folder.resolve(): it for it in map(run_of, of)}
    if len(once) < 2:
        raise StoreError("A comparison needs two runs at least: name them, as in `robustcsc compare sdnet resnet`.")
    found = {}
    for folder, run in once.items():
        found[str(folder) if run.name in found else run.name] = measured_records(run, "compare")
    return comparison(found, runs.trainings(once.values()))
