"""`robustcsc inspect coding`: how each layer codes its input."""

from __future__ import annotations

from robustcsc.cli import options
from robustcsc.cli.choices import Chosen
from robustcsc.cli.commands.inspect.output import FewImages, Out, opened, show


def coding(
    run: options.Run = None,
    model: options.Model = None,
    weights: options.Weights = None,
    data: options.Data = None,
    root: options.Root = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    workers: options.Workers = 2,
    limit: FewImages = 200,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 100,
    out: Out = None,
    as_json: options.Json = False,
) -> None:
    """Tell how each sparse-coding layer codes its input: residual, zeros, unsuccessful dimensions, coherence."""
    from robustcsc.inspection.signals.coding import inspect_coding

    chosen = Chosen(run, model, weights, data, root, download, image_size, workers, limit, device)
    with opened(chosen, out, batch_size) as (_, specimen):
        found = inspect_coding(specimen)
    show(found, out, as_json)
