"""From an image file to pixels: decoding, the evaluation view and the training view."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from robustcsc.errors import DataError

#: Suffixes of image files, in lower case; all other files are ignored.
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})

#: Short side before the centre crop relative to the crop: 256 to 224, as in the evaluation of ImageNet models.
RESIZE_RATIO = 256 / 224

#: The colour types of a PNG file without colours: grey, and grey with transparency.
_GREY_PNG = (0, 4)

_GREY_MODES = frozenset({"1", "L", "LA", "La"})


class UnreadableImageError(DataError):
    """An image file is damaged, cut short, or not an image."""


@contextmanager
def _opened(path: Path, content: bytes | None = None) -> Iterator[Image.Image]:
    """Opens a file, or its content, for the block, whose errors become an UnreadableImageError.

    On damaged files Pillow's decoders raise many types (OSError, SyntaxError, ValueError, struct.error, ...).
    """
    try:
        with Image.open(path if content is None else io.BytesIO(content)) as image:
            yield image
    except MemoryError:
        raise
    except Exception as error:
        raise UnreadableImageError(f"{path} is not a readable image.") from error


def read_header(path: Path, content: bytes | None = None) -> tuple[int, int, int]:
    """Returns channels (1 grey, 3 colour), height and width as the file's header states them.

    Args:
        path: The file.
        content: What is in it, if it was read already.

    Raises:
        UnreadableImageError: The file has no header that Pillow understands.
    """
    # A grey folder, most likely of PNG files, takes the header of each: Pillow needs five times as long for it.
    with suppress(OSError), io.BytesIO(content) if content is not None else path.open("rb", buffering=0) as file:
        start = file.read(26)
        if start[:8] == b"\x89PNG\r\n\x1a\n" and start[12:16] == b"IHDR" and len(start) == 26:
            width, height = struct.unpack(">II", start[16:24])
            return 1 if start[25] in _GREY_PNG else 3, height, width
    with _opened(path, content) as image:
        width, height = image.size
        return 1 if _is_grey(image.mode) else 3, height, width


def decode(path: Path, content: bytes | None = None) -> Image.Image:
    """Returns the whole image, 8 bits a channel, mode ``"L"`` for a grey file and ``"RGB"`` for any other.

    Transparency is dropped and the EXIF orientation is not applied, as in torchvision's image folders.

    Args:
        path: The file.
        content: What is in it, if it was read already.

    Raises:
        UnreadableImageError: The file is missing, damaged or cut short, or its pixels are not 8 or 16 bit integers.
    """
    with _opened(path, content) as image:
        image.load()
        if image.mode in ("I", "F"):
            raise ValueError(f"{image.mode} pixels have no fixed range")
        if image.mode.startswith("I;16"):
            wide = np.asarray(image).astype(np.uint32)
            return Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
        return image.convert("L" if _is_grey(image.mode) else "RGB")


def as_array(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Returns (H, W, 1) or (H, W, 3) uint8 pixels of an ``"L"`` or ``"RGB"`` image."""
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def evaluation_view(image: Image.Image, size: int) -> Image.Image:
    """Returns the centre of the image as `size` x `size` pixels.

    The short side is resized to ``round(size * 256 / 224)`` (bilinear, antialiased) and the centre cropped, as
    torchvision evaluates ImageNet models with 256 and 224. An image of exactly `size` x `size` pixels counts as
    prepared already and is returned unchanged.
    """
    width, height = image.size
    if (width, height) == (size, size):
        return image
    short = round(size * RESIZE_RATIO)
    if width <= height:
        width, height = short, int(short * height / width)
    else:
        width, height = int(short * width / height), short
    left, top = round((width - size) / 2), round((height - size) / 2)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))


def training_view(image: Image.Image, height: int, width: int, rng: np.random.Generator) -> Image.Image:
    """Returns a random part of the image as `height` x `width` pixels, mirrored half of the time.

    The part covers 8 to 100 % of the area with an aspect ratio between 3/4 and 4/3, log-uniform (Szegedy et al., "Going
    Deeper with Convolutions", CVPR 2015, section 6). If none of ten draws fits into the image, as for very long ones,
    the part is the largest centred one with an allowed ratio.
    """
    left, top, part_width, part_height = _random_part(*image.size, rng)
    part = image.crop((left, top, left + part_width, top + part_height))
    part = part.resize((width, height), Image.Resampling.BILINEAR)
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else part


def _random_part(width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Returns left, top, width and height of a random part of a `width` x `height` image."""
    for _ in range(10):
        area = width * height * rng.uniform(0.08, 1.0)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        part_width, part_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < part_width <= width and 0 < part_height <= height:
            left, top = rng.integers(0, width - part_width + 1), rng.integers(0, height - part_height + 1)
            return int(left), int(top), part_width, part_height
    part_width = min(width, max(1, round(height * 4 / 3)))
    part_height = min(height, max(1, round(width * 4 / 3)))
    return (width - part_width) // 2, (height - part_height) // 2, part_width, part_height


def _is_grey(mode: str) -> bool:
    return mode in _GREY_MODES or mode.startswith("I;16")
