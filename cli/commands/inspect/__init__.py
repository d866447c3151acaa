"""Table of contents of `robustcsc inspect`: looking inside a model. Each question is a sub-command."""

import typer

from robustcsc.cli import inspect_coding, inspect_dictionary, inspect_signals

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def inspect() -> None:
    """Look inside a model."""


_LEARNED, _DONE = "What it has learned", "What it does with images"

app.command("atoms", rich_help_panel=_LEARNED)(inspect_dictionary.atoms)
app.command("classifier", rich_help_panel=_LEARNED)(inspect_dictionary.classifier)
app.command("metric", rich_help_panel=_LEARNED)(inspect_dictionary.metric)
app.command("coding", rich_help_panel=_DONE)(inspect_coding.coding)
app.command("codes", rich_help_panel=_DONE)(inspect_signals.codes)
app.command("reconstruction", rich_help_panel=_DONE)(inspect_signals.reconstruction)
app.command("residuals", rich_help_panel=_DONE)(inspect_signals.residuals)
