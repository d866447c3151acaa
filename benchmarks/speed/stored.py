"""What storing images as ImageNet-C's adds to a sweep: through JPEG of quality 85, planes of bytes in and out.

Beside it, libjpeg-turbo's own time: its coder and decoder, called one after the other by torchvision's operations on
the same images, rows x columns x RGB as they need them. How long these take depends on the images: noise takes longest.
"""

from __future__ import annotations

import importlib.metadata
import runpy

import numpy as np
import torch
from corruptions import PHOTOGRAPHS, SEVERITY
from row import Row, in_turn

from robustcsc.allocator import keep_freed_memory
from robustcsc.corruptions import corrupt, load_spec
from robustcsc.corruptions.apply import stored
from robustcsc.data.jpeg import jpeg_trip
from robustcsc.measurements.perturbations import JPEG_QUALITY

COUNT, AT_MOST = 24, 1.6


def rows() -> list[Row]:
    """Returns a row for noise, for a blur, and for photographs with less contrast."""
    keep_freed_memory()
    jpeg_trip()  # loads the library
    return [_row(name) for name in ("gaussian_noise", "gaussian_blur", "contrast")]


def _row(name: str) -> Row:
    spec = load_spec("imagenet_c")
    levels = runpy.run_path(str(PHOTOGRAPHS))["photographs"]("imagenet_c")
    clean = torch.from_numpy(levels[np.arange(COUNT) % len(levels)]).permute(0, 3, 1, 2).contiguous()
    images = corrupt(clean, spec, name, SEVERITY, seed=0, indices=torch.arange(COUNT))
    as_in_files = images.contiguous(memory_format=torch.channels_last)
    encode, decode = torch.ops.image.encode_jpeg.default, torch.ops.image.decode_jpeg.default

    def theirs() -> list[torch.Tensor]:
        return [decode(encode(image, JPEG_QUALITY), 0) for image in as_in_files]

    same = torch.equal(stored(images, spec.pixels), torch.stack(theirs()))
    timing = in_turn(lambda: stored(images, spec.pixels), theirs, repeats=15)
    what = f"JPEG of quality {JPEG_QUALITY}, {name} at severity {SEVERITY}, {spec.image_size} px, batch of {COUNT}"
    other = f"libjpeg-turbo alone, by torchvision {importlib.metadata.version('torchvision')}"
    return Row.timed("stored", what, other, timing, AT_MOST, note="the same pixels" if same else "OTHER PIXELS")
