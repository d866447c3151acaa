"""`robustcsc inspect codes`: the values of the codes."""

from __future__ import annotations

from robustcsc.cli import options
from robustcsc.cli.choices import Chosen
from robustcsc.cli.commands.inspect.output import FewImages, Layers, Out, opened, show


def codes(
    run: options.Run = None,
    model: options.Model = None,
    weights: options.Weights = None,
    layers: Layers = None,
    data: options.Data = None,
    root: options.Root = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    workers: options.Workers = 2,
    limit: FewImages = 1000,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 100,
    out: Out = None,
    as_json: options.Json = False,
) -> None:
    """Tell how many values of the codes are exactly 0, and how the others are distributed (SDNet, figure 6)."""
    from robustcsc.inspection.signals.codes import inspect_codes

    chosen = Chosen(run, model, weights, data, root, download, image_size, workers, limit, device)
    with opened(chosen, out, batch_size, layers) as (_, specimen):
        found = inspect_codes(specimen)
    show(found, out, as_json)
