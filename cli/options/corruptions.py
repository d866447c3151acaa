"""Options that name corruptions."""

from pathlib import Path
from typing import Annotated

from robustcsc.cli.options import completion
from robustcsc.cli.options.panels import in_corruptions
from robustcsc.cli.options.values import SeverityTuple
from robustcsc.measurements.severity_tables import load_spec, select

Spec = Annotated[
    str | None,
    in_corruptions(
        "--spec",
        metavar="NAME|FILE",
        help="Severity table: cifar10_c, imagenet_c or a TOML file; the one for the image size if not given.",
    ),
]
Corruptions = Annotated[
    str | None,
    in_corruptions(
        "--corruptions",
        metavar="LIST",
        autocompletion=completion.corruption_lists,
        help="all, standard, a group, or names with commas between them; see `robustcsc corruptions`. Without it, all "
        "that can be applied to the images.",
    ),
]
Severities = Annotated[
    SeverityTuple,
    in_corruptions("--severities", metavar="LIST", parser=SeverityTuple.parse, help="Severities, like 1-5 or 1,3,5."),
]
CorruptedRoot = Annotated[
    Path | None,
    in_corruptions(
        "--corrupted-root",
        metavar="FOLDER",
        help="CIFAR-10-C / ImageNet-C files to use instead of generated corruptions: the published ones, or those of "
        "`robustcsc data corrupt`.",
    ),
]
FrostRoot = Annotated[
    Path | None,
    in_corruptions(
        "--frost-root",
        metavar="FOLDER",
        help="The original photographs of frost, frost1.png to frost5.jpg; without them, those of the package "
        "torch-uncertainty-assets.",
    ),
]
AsPublished = Annotated[
    bool,
    in_corruptions(
        "--as-published/--float",
        help="Store corrupted images as the published files are: in 8 bits, and for imagenet_c as JPEG of quality 85; "
        "or leave them floats.",
    ),
]


def check_corruptions(names: str | None, spec: str | None, frost_root: Path | None = None) -> None:
    """Refuses corruptions that a severity table lacks, before torch is imported; those of the package have the same.

    Raises:
        RobustCSCError: There is no such table or corruption, or a file cannot be read.
    """
    select(load_spec(spec or "cifar10_c", frost_root), names or "all")
