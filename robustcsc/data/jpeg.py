"""The JPEG decoder of torchvision, where it gives the pixels of Pillow: on small images it takes a quarter of the time.

Both call libjpeg-turbo. Most of Pillow's time on an image of 32x32 pixels is spent around that.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

#: Takes the content of a file and returns (C, H, W) pixels, one channel for a grey image and three for a colour one, or
#: raises RuntimeError if the content is damaged, or not of these kinds.
JpegDecoder = Callable[[bytes], npt.NDArray[np.uint8]]

#: Takes (C, H, W) uint8 pixels of one or three channels, which should lie in memory as (H, W, C), and a quality of 1 to
#: 100, and returns them as a file with 4:2:0 colour gives them back.
JpegTrip = Callable[[Tensor, int], Tensor]

#: Bytes of the largest file it is used for. More would gain little, and may hold more pixels than Pillow allows.
LARGEST_FILE = 2**18

_AS_STORED = 0
"""torchvision's ``ImageReadMode.UNCHANGED``."""


@cache
def jpeg_decoder() -> JpegDecoder | None:
    """Returns the decoder; ``None`` if torchvision lacks it, or if it differs from Pillow in a pixel of some images.

    Its library is loaded alone: importing torchvision takes seconds.
    """
    found = importlib.util.find_spec("torchvision")
    folders = [] if found is None else list(found.submodule_search_locations or ())
    libraries = [file for folder in folders for file in sorted(Path(folder).glob("image*")) if file.suffix in _BINARY]
    try:
        torch.ops.load_library(libraries[0])  # type: ignore[no-untyped-call]
        operation = torch.ops.image.decode_jpeg.default
    except (IndexError, OSError, AttributeError):
        return None

    def decode(content: bytes) -> npt.NDArray[np.uint8]:
        pixels: npt.NDArray[np.uint8] = operation(torch.frombuffer(bytearray(content), dtype=torch.uint8), _AS_STORED)
        if pixels.shape[0] not in (1, 3):
            raise RuntimeError("An image of four inks.")
        return pixels.numpy()  # type: ignore[attr-defined, no-any-return]

    return decode if _agrees_with_pillow(decode) else None


@cache
def jpeg_trip() -> JpegTrip | None:
    """Returns torchvision's coder and decoder in one; ``None`` where there is no `jpeg_decoder`."""
    if jpeg_decoder() is None:
        return None
    encode, decode = torch.ops.image.encode_jpeg.default, torch.ops.image.decode_jpeg.default
    return lambda pixels, quality: decode(encode(pixels, quality), _AS_STORED)


_BINARY = (".so", ".pyd", ".dylib")


def _agrees_with_pillow(decode: JpegDecoder) -> bool:
    """Compares both decoders on noise, which shows each rounding; the libraries need not be of one version."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (23, 37, 3), dtype=np.uint8))
    for image in (noise, noise.convert("L")):
        for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
            for progressive in (False, True):
                file = io.BytesIO()
                image.save(file, "JPEG", quality=80, subsampling=subsampling, progressive=progressive)
                with Image.open(file) as opened:
                    expected = np.atleast_3d(np.asarray(opened)).transpose(2, 0, 1)
                if not np.array_equal(decode(file.getvalue()), expected):
                    return False
    return True
