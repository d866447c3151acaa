"""`robustcsc inspect`: looking inside a model. Each question is a sub-command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from robustcsc.cli import options
from robustcsc.cli.choices import Chosen, choosing
from robustcsc.cli.findings import find
from robustcsc.cli.usage import Commands
from robustcsc.measurements.severity_tables import default_spec_name, load_spec

if TYPE_CHECKING:
    from robustcsc.inspection.specimen import Findings, Specimen

_Out = Annotated[
    Path | None,
    options.in_output(
        "--out",
        metavar="FOLDER",
        callback=options.writable,
        help="Also write the tables as CSV there, and the figures as SVG and PNG.",
    ),
]
_Layers = Annotated[
    str | None,
    options.in_model(
        "--layers",
        metavar="LIST",
        help="Names of layers with commas between them, * as a wildcard; all if not given.",
    ),
]
_FewImages = Annotated[int, options.in_data("--limit", metavar="N", min=1, help="Use N test images, evenly spaced.")]

app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False)


@app.callback()
def inspect() -> None:
    """Look inside a model."""


_LEARNED, _DONE = "What it has learned", "What it does with images"


@app.command("atoms", rich_help_panel=_LEARNED)
@choosing
def atoms(
    *,
    chosen: Chosen,
    layers: _Layers = None,
    limit: _FewImages = 200,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 100,
    out: _Out = None,
    as_json: options.Json = False,
) -> None:
    """Show the dictionaries: their atoms as pictures (SDNet, figure 5), norms and mutual coherence.

    Images are needed only for a task-driven model whose features are not linear: its atoms are shown as the average of
    the test images they are used for.
    """
    from robustcsc.inspection.learned.atoms import inspect_atoms

    find(inspect_atoms, chosen, device, out, as_json, limit=limit, layers=layers, batch_size=batch_size)


@app.command("classifier", rich_help_panel=_LEARNED)
@choosing
def classifier(
    *,
    chosen: Chosen,
    limit: _FewImages = 200,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 100,
    out: _Out = None,
    as_json: options.Json = False,
) -> None:
    """Show which atoms speak for each class of a task-driven model (TDDL-CNN, figure 2), and the pictures they make."""
    from robustcsc.inspection.learned.classifier import inspect_classifier

    find(inspect_classifier, chosen, device, out, as_json, limit=limit, batch_size=batch_size)


@app.command("metric", rich_help_panel=_LEARNED)
@choosing
def metric(
    *,
    chosen: Chosen,
    layers: _Layers = None,
    device: options.Device = "auto",
    out: _Out = None,
    as_json: options.Json = False,
) -> None:
    """Show the learned metrics of a DeTraMe-Net: W~ as a picture, its spectrum, how far it is from a plain ReLU, h, b.

    No image is looked at; --data and --root are for a model from elsewhere only.
    """
    from robustcsc.inspection.learned.metric import inspect_metrics

    find(inspect_metrics, chosen, device, out, as_json, layers=layers)


@app.command("coding", rich_help_panel=_DONE)
@choosing
def coding(
    *,
    chosen: Chosen,
    limit: _FewImages = 200,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 100,
    out: _Out = None,
    as_json: options.Json = False,
) -> None:
    """Tell how each sparse-coding layer codes its input: residual, zeros, unsuccessful dimensions, coherence."""
    from robustcsc.inspection.signals.coding import inspect_coding

    find(inspect_coding, chosen, device, out, as_json, limit=limit, batch_size=batch_size)


@app.command("codes", rich_help_panel=_DONE)
@choosing
def codes(
    *,
    chosen: Chosen,
    layers: _Layers = None,
    limit: _FewImages = 1000,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 100,
    out: _Out = None,
    as_json: options.Json = False,
) -> None:
    """Tell how many values of the codes are exactly 0, and how the others are distributed (SDNet, figure 6)."""
    from robustcsc.inspection.signals.codes import inspect_codes

    find(inspect_codes, chosen, device, out, as_json, limit=limit, layers=layers, batch_size=batch_size)


@app.command("reconstruction", rich_help_panel=_DONE)
@choosing
def reconstruction(
    *,
    chosen: Chosen,
    limit: _FewImages = 200,
    pictures: Annotated[
        int, options.in_output("--images", metavar="N", min=1, max=50, help="Images in the figure.")
    ] = 5,
    corruption: Annotated[
        str | None,
        options.in_corruptions(
            "--corruption",
            metavar="NAME",
            help="Reconstruct images under this corruption, too; see `robustcsc corruptions`.",
        ),
    ] = None,
    severity: Annotated[int, options.in_corruptions("--severity", metavar="N", min=1, max=5, help="1-5.")] = 3,
    spec: options.Spec = None,
    frost_root: options.FrostRoot = None,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 50,
    seed: options.Seed = 0,
    out: _Out = None,
    as_json: options.Json = False,
) -> None:
    """Reconstruct images from the codes of each layer through the dictionaries (SDNet, equation 14 and figure 4).

    That goes as deep as the model is a plain chain of dictionaries: up to its first shortcut, and in an SDNet whose
    first layer is the only sparse-coding layer, one layer deep.
    """
    options.check_corruptions(corruption, spec, frost_root)

    from robustcsc.inspection.signals.reconstruction import inspect_reconstruction

    def reconstructed(specimen: Specimen) -> Findings[object]:
        table = load_spec(spec or default_spec_name(specimen.image_shape), frost_root)
        return inspect_reconstruction(specimen, corruption, severity, spec=table, seed=seed, pictures=pictures)

    find(reconstructed, chosen, device, out, as_json, limit=limit, batch_size=batch_size)


@app.command("residuals", rich_help_panel=_DONE)
@choosing
def residuals(
    *,
    chosen: Chosen,
    layers: _Layers = None,
    limit: _FewImages = 1000,
    corruptions: Annotated[
        str | None,
        options.in_corruptions(
            "--corruptions",
            metavar="LIST",
            help="all, standard, a group, or names with commas between them; the noises if not given.",
        ),
    ] = None,
    severities: options.Severities = options.ALL_SEVERITIES,
    spec: options.Spec = None,
    frost_root: options.FrostRoot = None,
    definition: Annotated[
        Literal["squared", "norm", "relative"],
        options.in_lambda("--residual", help="Which residual, as in fit-lambda."),
    ] = "squared",
    device: options.Device = "auto",
    batch_size: options.BatchSize = 250,
    seed: options.Seed = 0,
    out: _Out = None,
    as_json: options.Json = False,
) -> None:
    """Tell how the residual of an image grows with noise, and how well it tells noisy images from clean ones (AUC)."""
    options.check_corruptions(corruptions, spec, frost_root)

    from robustcsc.inspection.signals.residuals import inspect_residuals

    def detected(specimen: Specimen) -> Findings[object]:
        table = load_spec(spec or default_spec_name(specimen.image_shape), frost_root)
        return inspect_residuals(
            specimen, definition, corruptions=corruptions, severities=severities, spec=table, seed=seed
        )

    find(detected, chosen, device, out, as_json, limit=limit, layers=layers, batch_size=batch_size)
