"""Image sets: `load` returns one split of a data set, `load_official` its published corrupted copies.

Sets in memory (`MemoryImages`), sets of files that are decoded when they are used (`DecodedImages`) and sets of files
that are read batch by batch (`StreamedImages`) have one interface, `ImageSet`. Images are float32 in [0, 1]. Every
image carries its *position* in the split (`Batch.indices`), so that its random corruptions depend on neither the batch,
the order nor the subset.
"""

from robustcsc.data.catalog import load
from robustcsc.data.decoded import DecodedImages
from robustcsc.data.images import Batch, ImageSet
from robustcsc.data.memory import MemoryImages
from robustcsc.data.official import load_official
from robustcsc.data.splits import hold_out
from robustcsc.data.streamed import StreamedImages
from robustcsc.measurements.datasets import DATASETS, DataSource

__all__ = [
    "DATASETS",
    "Batch",
    "DataSource",
    "DecodedImages",
    "ImageSet",
    "MemoryImages",
    "StreamedImages",
    "hold_out",
    "load",
    "load_official",
]
