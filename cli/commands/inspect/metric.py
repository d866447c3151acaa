"""`robustcsc inspect metric`: the learned metrics of a DeTraMe-Net."""

from __future__ import annotations

from robustcsc.cli import options
from robustcsc.cli.choices import Chosen
from robustcsc.cli.commands.inspect.output import Layers, Out, opened, show


def metric(
    run: options.Run = None,
    model: options.Model = None,
    weights: options.Weights = None,
    layers: Layers = None,
    data: options.Data = None,
    root: options.Root = None,
    image_size: options.ImageSize = None,
    device: options.Device = "auto",
    out: Out = None,
    as_json: options.Json = False,
) -> None:
    """Show the learned metrics of a DeTraMe-Net: W~ as a picture, its spectrum, how far it is from a plain ReLU, h, b.

    No image is looked at; --data and --root are for a model from elsewhere only.
    """
    from robustcsc.inspection.learned.metric import inspect_metrics

    chosen = Chosen(run, model, weights, data, root, False, image_size, device=device)
    with opened(chosen, out, layers=layers) as (_, specimen):
        found = inspect_metrics(specimen)
    show(found, out, as_json)
