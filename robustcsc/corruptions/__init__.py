"""Image corruptions of CIFAR-10-C and ImageNet-C, generated on the fly for whole batches."""

from robustcsc.corruptions.apply import apply_kernel, check_images, corrupt
from robustcsc.corruptions.catalog import GROUPS, KERNELS, Kernel
from robustcsc.corruptions.draws import image_seeds
from robustcsc.corruptions.filters import truncate
from robustcsc.corruptions.levels import NOISE_LEVELS, noise_levels
from robustcsc.corruptions.specs import SEVERITIES, Corruption, Spec, load_spec, packaged_specs, select

__all__ = [
    "GROUPS",
    "KERNELS",
    "NOISE_LEVELS",
    "SEVERITIES",
    "Corruption",
    "Kernel",
    "Spec",
    "apply_kernel",
    "check_images",
    "corrupt",
    "image_seeds",
    "load_spec",
    "noise_levels",
    "packaged_specs",
    "select",
    "truncate",
]
