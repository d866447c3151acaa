"""The photographs of frost that the kernel ``frost`` blends in, on a device, ready to be cropped.

The originals are five files of the authors' repository (hendrycks/robustness, Apache-2.0), of which two show the
same picture. The package torch-uncertainty-assets has them as JPEG files, two of them compressed anew.
"""

from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from robustcsc.errors import DataError
from robustcsc.measurements.severity_tables import ORIGINAL_NAMES, photographs

_PACKAGE = "torch_uncertainty_assets.frost"
_PACKAGED_NAMES = ("frost1.jpg", "frost2.jpg", "frost2.jpg", "frost3.jpg", "frost4.jpg")  # the originals' 2 and 3 agree


class Textures(NamedTuple):
    """The five photographs in one tensor; a file that is used twice is stored once.

    Attributes:
        names: File name of each photograph.
        sizes: Rows and columns of each photograph.
        pixels: (total,) uint8, the photographs one after another, each channel by channel and row by row.
        starts: (5,) int64, where each begins in `pixels`.
        sides: (5, 2) int64, the sizes on the device.
    """

    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    pixels: Tensor
    starts: Tensor
    sides: Tensor


@lru_cache(maxsize=8)
def load_textures(folder: Path | None, scale: float, device: torch.device) -> Textures:
    """Returns the photographs, decoded once for each folder, scale and device.

    Args:
        folder: Folder of the original files frost1.png ... frost5.jpg; None for those of torch-uncertainty-assets.
        scale: Size relative to the files, in (0, 1]: sampled bilinearly without antialiasing, as OpenCV does it.
        device: Device of the pixels.

    Raises:
        DataError: If a file is missing or cannot be decoded; the message names the file.
    """
    names = _PACKAGED_NAMES if folder is None else ORIGINAL_NAMES
    place: Traversable = files(_PACKAGE) if folder is None else folder
    pictures = {name: _shrink(_decode(name, content, place), scale) for name, content in photographs(place, names)}
    starts = dict(zip(pictures, np.cumsum([0, *(picture.size for picture in pictures.values())]), strict=False))
    pixels = np.concatenate([picture.ravel() for picture in pictures.values()])
    sizes = tuple((pictures[name].shape[1], pictures[name].shape[2]) for name in names)
    return Textures(
        names,
        sizes,
        torch.from_numpy(pixels).to(device),
        torch.tensor([int(starts[name]) for name in names], device=device),
        torch.tensor(sizes, device=device),
    )


def crop(textures: Textures, index: Tensor, corners: Tensor, height: int, width: int) -> Tensor:
    """Returns one crop per image, (N, 3, height, width) uint8, which must lie inside its photograph.

    The index is (N,) int64, number of the photograph, 0 to 4; the corners are (N, 2) int64, top row and left column.
    """
    device = textures.pixels.device
    rows_of, stride = textures.sides[index].unbind(1)
    plane = rows_of * stride
    first = textures.starts[index] + corners[:, 0] * stride + corners[:, 1]
    channels = torch.arange(3, device=device)[:, None] * plane[:, None, None]
    rows = first[:, None, None] + channels + torch.arange(height, device=device) * stride[:, None, None]
    # Every run of `width` pixels as a row of one overlapping view: the crops are then rows, copied in one piece each.
    runs = textures.pixels.as_strided((len(textures.pixels) - width + 1, width), (1, 1))
    return runs.index_select(0, rows.view(-1)).view(*rows.shape, width)


def _decode(name: str, content: bytes, place: Traversable) -> npt.NDArray[np.uint8]:
    """(3, H, W) pixels of a file, without its transparency."""
    try:
        with Image.open(BytesIO(content)) as image:
            return np.moveaxis(np.asarray(image.convert("RGB"), dtype=np.uint8), -1, 0)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds of error on damaged files
        raise DataError(
            f"The photograph of frost {place / name} is not a readable image; replace it with the original file."
        ) from error


def _shrink(picture: npt.NDArray[np.uint8], scale: float) -> npt.NDArray[np.uint8]:
    """A (3, H, W) picture of ``round(scale H) x round(scale W)`` pixels, each between the four nearest to its centre.

    At scale 0.2 the centres fall on pixels, and every fifth one from the third on stays.
    """
    values = picture.astype(np.float64)
    for axis in (1, 2):
        side = values.shape[axis]
        # Rounded because 1.5 / 0.2 is 7.499999999999999.
        centres = np.round((np.arange(max(1, round(side * scale))) + 0.5) / scale - 0.5, 9)
        low = np.clip(np.floor(centres).astype(np.intp), 0, side - 1)
        shares = np.clip(centres - low, 0.0, 1.0).reshape((-1, 1) if axis == 1 else -1)
        high = np.minimum(low + 1, side - 1)
        values = values.take(low, axis) * (1.0 - shares) + values.take(high, axis) * shares
    return np.floor(values + 0.5).astype(np.uint8)
