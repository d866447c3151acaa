"""Table of contents of `robustcsc inspect`: looking inside a model. Each question is a sub-command."""

import typer

from robustcsc.cli.commands.inspect import atoms, classifier, codes, coding, metric, reconstruction, residuals

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def inspect() -> None:
    """Look inside a model."""


_LEARNED, _DONE = "What it has learned", "What it does with images"

app.command("atoms", rich_help_panel=_LEARNED)(atoms.atoms)
app.command("classifier", rich_help_panel=_LEARNED)(classifier.classifier)
app.command("metric", rich_help_panel=_LEARNED)(metric.metric)
app.command("coding", rich_help_panel=_DONE)(coding.coding)
app.command("codes", rich_help_panel=_DONE)(codes.codes)
app.command("reconstruction", rich_help_panel=_DONE)(reconstruction.reconstruction)
app.command("residuals", rich_help_panel=_DONE)(residuals.residuals)
