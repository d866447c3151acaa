"""Image corruptions of CIFAR-10-C and ImageNet-C, generated on the fly for whole batches."""

from robustcsc.corruptions.apply import apply_kernel, corrupt
from robustcsc.corruptions.catalog import KERNELS
from robustcsc.corruptions.draws import image_seeds
from robustcsc.corruptions.levels import noise_levels
from robustcsc.measurements.perturbations import SEVERITIES
from robustcsc.measurements.severity_tables import Spec, load_spec, packaged_specs, select

__all__ = [
    "KERNELS",
    "SEVERITIES",
    "Spec",
    "apply_kernel",
    "corrupt",
    "image_seeds",
    "load_spec",
    "noise_levels",
    "packaged_specs",
    "select",
]
