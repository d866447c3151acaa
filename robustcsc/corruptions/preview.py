"""One image under every corruption of a severity table, on one sheet."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from robustcsc.corruptions.apply import corrupt
from robustcsc.data.decode import decode
from robustcsc.measurements.perturbations import SEVERITIES
from robustcsc.measurements.severity_tables import Spec

#: Smallest side in pixels of the images on a sheet; smaller images are enlarged.
TILE = 96

_GAP, _FONT_SIZE = 4, 14
_PAPER, _INK = (255, 255, 255), (0, 0, 0)


def read_square(path: Path, size: int) -> Image.Image:
    """Returns the centre of an image file as `size` x `size` RGB pixels.

    The largest centred square is cropped, then resized with Pillow's antialiased bicubic filter.

    Raises:
        DataError: If the file is missing or not a readable image.
    """
    image = decode(path).convert("RGB")
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    return image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BICUBIC)


def contact_sheet(image: Image.Image, spec: Spec, *, seed: int = 0) -> Image.Image:
    """Returns a sheet with one row per corruption of the table: the clean image, then severities 1 to 5.

    Images smaller than 96 pixels are enlarged by a whole number, each pixel to a square.

    Args:
        image: RGB, of the size the table is made for.
        spec: Severity table.
        seed: Seed of the corruptions; the image counts as the first one of a data set.

    Raises:
        DataError: If a corruption cannot be applied, or its frost photographs cannot be read.
    """
    side = max(image.size) * math.ceil(TILE / max(image.size))
    font = ImageFont.load_default(_FONT_SIZE)
    left = math.ceil(max(font.getlength(name) for name in spec.corruptions)) + 2 * _GAP
    top, step = _FONT_SIZE + 2 * _GAP, side + _GAP
    size = (left + step * (1 + len(SEVERITIES)), top + step * len(spec.corruptions))
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, heading in enumerate(("clean", *map(str, SEVERITIES))):
        draw.text((left + column * step + side / 2, top / 2), heading, _INK, font, anchor="mm")
    for row, name in enumerate(spec.corruptions):
        draw.text((_GAP, top + row * step + side / 2), name, _INK, font, anchor="lm")
        for column, tile in enumerate(_tiles(image, spec, name, seed)):
            sheet.paste(tile.resize((side, side), Image.Resampling.NEAREST), (left + column * step, top + row * step))
    return sheet


def _tiles(image: Image.Image, spec: Spec, corruption: str, seed: int) -> list[Image.Image]:
    """The image, clean and at every severity, truncated to 8 bits."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    tiles = [image]
    for severity in SEVERITIES:
        result = corrupt(pixels, spec, corruption, severity, seed=seed, indices=torch.tensor([0]))
        tiles.append(Image.fromarray(result[0].permute(1, 2, 0).numpy()))
    return tiles
