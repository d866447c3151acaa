"""Image sets: `load` returns one split of a data set, `load_official` the published corrupted copies of it.

Every set answers the same questions (`ImageSet`), whether its pixels lie in memory (`MemoryImages`) or are read from
an image folder batch by batch (`StreamedImages`). Images are float32 in [0, 1]; an image's *position* in its data set
travels with it (`Batch.indices`), so that its random corruptions do not depend on the batch, the order or the subset.
"""

from robustcsc.data.catalog import DATASETS, DataSource, load
from robustcsc.data.images import Batch, ImageSet
from robustcsc.data.memory import MemoryImages
from robustcsc.data.official import load_official
from robustcsc.data.splits import hold_out
from robustcsc.data.streamed import StreamedImages

__all__ = [
    "DATASETS",
    "Batch",
    "DataSource",
    "ImageSet",
    "MemoryImages",
    "StreamedImages",
    "hold_out",
    "load",
    "load_official",
]
