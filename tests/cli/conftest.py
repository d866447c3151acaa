import pytest


@pytest.fixture(autouse=True)
def no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes output the same on every machine: CI services set variables for colours and width."""
    for variable in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("typer.rich_utils.FORCE_TERMINAL", None, raising=False)  # read when it was imported
