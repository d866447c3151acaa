"""Options that name the model."""

from pathlib import Path
from typing import Annotated

import typer

from robustcsc.cli.options import completion
from robustcsc.cli.options.panels import in_model

Run = Annotated[
    str | None,
    in_model(
        "--run",
        metavar="NAME",
        autocompletion=completion.run_names,
        help="Run in runs/, or a model that ships with the package; the latest run if not given.",
    ),
]
Runs = Annotated[
    list[str] | None,
    typer.Option("--run", metavar="NAME", autocompletion=completion.run_names, help="A run to show; may be repeated."),
]
Model = Annotated[
    str | None,
    in_model(
        "--model",
        metavar="NAME",
        autocompletion=completion.model_names,
        help="A published model, torchvision:resnet18@IMAGENET1K_V1, timm:resnet18.a1_in1k or hf:OWNER/NAME (Hugging "
        "Face Hub); or, with --weights, a name from `robustcsc models`, torchvision:resnet18, timm:resnet18, or "
        "package.module:factory of a function that returns an nn.Module.",
    ),
]
Weights = Annotated[
    Path | None,
    in_model(
        "--weights",
        metavar="FILE",
        help="The state dict for --model: .safetensors, or .pth with nothing but tensors; or hf:OWNER/NAME.",
    ),
]
ModelOption = Annotated[
    list[str] | None,
    in_model(
        "--model-option",
        metavar="KEY=VALUE",
        help="Option of the builder of --model, e.g. shortcut=A or atoms=32; see `robustcsc models`.",
    ),
]
_of_weights = (
    "per channel, in pixel units of [0, 1], that the weights were trained with; by default that of the published "
    "weights or the data set, and none for package.module:factory."
)
Mean = Annotated[str | None, in_model("--mean", metavar="LIST", help=f"Mean of the pixels {_of_weights}")]
Std = Annotated[str | None, in_model("--std", metavar="LIST", help=f"Standard deviation of the pixels {_of_weights}")]
Output = Annotated[
    str,
    in_model(
        "--output",
        metavar="KEY",
        help="Which output of --model the logits are, if it returns a dictionary, a tuple or a dataclass: a key like "
        "logits, or an index.",
    ),
]
