"""Where the files of a data set lie if nobody says it: where a run found them, or below one folder for all."""

from __future__ import annotations

import os
from pathlib import Path

from robustcsc.errors import DataError

#: The environment variable that names a folder with all data sets.
ENVIRONMENT = "ROBUSTCSC_DATA"


def find_root(name: str, remembered: str = "", *, download: bool = False) -> Path:
    """Returns the folder of a data set: the one that a run remembers, or else ``$ROBUSTCSC_DATA/NAME``.

    NAME is the name of the data set; for an image folder that a run remembers, the last part of its path.

    Args:
        name: The data set, a key of `robustcsc.data.DATASETS`.
        remembered: Where a run found it; ``""`` if none did.
        download: Whether the folder below ``ROBUSTCSC_DATA`` may be missing.

    Raises:
        DataError: Neither folder exists.
    """
    if remembered and Path(remembered).is_dir():
        return Path(remembered)
    label = Path(remembered).name if remembered and name == "imagefolder" else name
    above = os.environ.get(ENVIRONMENT, "")
    inside = Path(above).expanduser() / label
    if above and (download or inside.is_dir()):
        return inside
    run = f"the run remembers {remembered}, which is gone" if remembered else "no run remembers one"
    environment = f"there is no {inside}" if above else f"{ENVIRONMENT} is not set"
    raise DataError(
        f"No folder of {name} is known ({run}, {environment}): "
        f"add --root FOLDER, or set {ENVIRONMENT} to a folder that holds {label}."
    )
