"""Options that name the images."""

from pathlib import Path
from typing import Annotated

from robustcsc.cli.options import completion
from robustcsc.cli.options.panels import in_data
from robustcsc.measurements import records

Data = Annotated[
    str | None,
    in_data(
        "--data",
        metavar="NAME",
        autocompletion=completion.data_names,
        help="Data set, see `robustcsc data`; the one the run was trained on if not given.",
    ),
]
Root = Annotated[Path | None, in_data("--root", metavar="FOLDER", help="Folder the data set is in.")]
Download = Annotated[bool, in_data("--download", help="Fetch the data set into --root if it is missing.")]
ImageSize = Annotated[
    int | None, in_data("--image-size", metavar="N", min=1, help="Resize and crop images of a folder to N.")
]
ClassOrder = Annotated[
    records.ClassOrder | None,
    in_data(
        "--class-order",
        help="Order of class folders 0, 1, 10, 2 as labels: number, unless the run was trained on the other one; text "
        "is the one of torchvision's ImageFolder.",
    ),
]
Classes = Annotated[
    Path | None,
    in_data(
        "--classes",
        metavar="FILE",
        help="Names of the model's classes in the order of its logits, one a line, or NAME=INDEX, if the class folders "
        "are only some of them; not needed for synsets of ImageNet.",
    ),
]
AnswersAmong = Annotated[
    records.Answers | None,
    in_data(
        "--answers",
        help="What answers are chosen from, if the class folders are only some of the model's classes: all of these "
        "(without it), or those of the folder, as is published for ImageNet-A and ImageNet-R.",
    ),
]
Readers = Annotated[int, in_data("--readers", metavar="N", min=0, help="Processes that read images.")]
Limit = Annotated[int | None, in_data("--limit", metavar="N", min=1, help="Use N test images only, evenly spaced.")]
