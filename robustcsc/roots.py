"""Where files lie if nobody says it: those of a data set where a run found them or below one folder, and the cache."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from robustcsc.errors import DataError

#: The environment variable that names a folder with all data sets.
ENVIRONMENT = "ROBUSTCSC_DATA"

#: The environment variable that names the folder above the cache, or is ``off``.
CACHE_ENVIRONMENT = "ROBUSTCSC_CACHE"


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


def cache_folder() -> Path | None:
    """Returns the folder of what is kept to save time, and may be deleted; ``None`` if nothing is to be kept.

    That is ``robustcsc`` below ``$ROBUSTCSC_CACHE``, or else where the system has caches: below ``$XDG_CACHE_HOME`` or
    ``~/.cache``, ``~/Library/Caches`` or ``%LOCALAPPDATA%``.
    """
    home = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    usual = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", "")
    above = os.environ.get(CACHE_ENVIRONMENT, "") or usual or home
    with suppress(RuntimeError):  # nobody knows where the home is
        return None if above.lower() == "off" else Path(above).expanduser().absolute() / "robustcsc"
    return None
