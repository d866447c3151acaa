"""`robustcsc inspect atoms`: the dictionaries of a model."""

from __future__ import annotations

from robustcsc.cli import options
from robustcsc.cli.choices import Chosen
from robustcsc.cli.commands.inspect.output import FewImages, Layers, Out, opened, show


def atoms(
    run: options.Run = None,
    model: options.Model = None,
    weights: options.Weights = None,
    layers: Layers = None,
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
    """Show the dictionaries: their atoms as pictures (SDNet, figure 5), norms and mutual coherence.

    Images are needed only for a task-driven model whose features are not linear: its atoms are shown as the average of
    the test images they are used for.
    """
    from robustcsc.inspection.learned.atoms import inspect_atoms

    chosen = Chosen(run, model, weights, data, root, download, image_size, workers, limit, device)
    with opened(chosen, out, batch_size, layers) as (_, specimen):
        found = inspect_atoms(specimen)
    show(found, out, as_json)
