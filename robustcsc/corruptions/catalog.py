"""The corruption kernels by name; `robustcsc.measurements.kernels` has what is known of them without torch.

To add a kernel: one pure function ``kernel(images, seeds, *, parameters)`` in the file of its group, one line in
`KERNELS`, one in `PARAMETERS`, one in `RANGES` for each new parameter name, and its levels in the severity tables.
"""

from collections.abc import Callable

from torch import Tensor

from robustcsc.corruptions.blur import defocus_blur, gaussian_blur, glass_blur, motion_blur, zoom_blur
from robustcsc.corruptions.digital import brightness, contrast, jpeg_compression, pixelate, saturate
from robustcsc.corruptions.elastic import elastic_transform
from robustcsc.corruptions.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from robustcsc.corruptions.spatter import spatter
from robustcsc.corruptions.weather import fog, frost, snow

Kernel = Callable[..., Tensor]
"""``kernel(images, seeds, *, ...) -> images``: (N, C, H, W) in [0, 1] to the same, with one int64 seed per image."""

KERNELS: dict[str, Kernel] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "frost": frost,
    "fog": fog,
    "brightness": brightness,
    "contrast": contrast,
    "elastic_transform": elastic_transform,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
    "speckle_noise": speckle_noise,
    "gaussian_blur": gaussian_blur,
    "spatter": spatter,
    "saturate": saturate,
}


BYTE_KERNELS = frozenset({"impulse_noise", "frost", "pixelate", "jpeg_compression"})
"""The kernels that also turn uint8 images into uint8 images: those of pixels over 255, truncated to 8 bits."""
