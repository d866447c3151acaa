"""Whose figures a row of a paper's table shows, and which of them were measured."""

from __future__ import annotations

from dataclasses import dataclass

from robustcsc.report.cohorts.cohorts import Cohort
from robustcsc.report.comparisons.groups import Group

PLAIN = ("none", "train")
"""Policies of a model as it was trained."""
ADAPTIVE = ("adaptive", "adaptive-batch", "adaptive-image")


@dataclass(frozen=True, kw_only=True)
class Who:
    """Whose figures a row of a paper's table shows.

    Attributes:
        model: Name in the catalog.
        data: The data set; forms of it (``"cifar10-jpeg"``) count, and are named.
        policies: Lambda policies; of several the first that was measured.
        options: Options of the model that tell its row from others.
        usual: Whether these are the options that the model has by default.
        trained_on: Number of training images, 0 for any.
        lam: The lambda that has to be used; ``None`` for any.
    """

    model: str = ""
    data: str = ""
    policies: tuple[str, ...] = PLAIN
    options: tuple[tuple[str, object], ...] = ()
    usual: bool = True
    trained_on: int = 0
    lam: float | None = None

    def trained(self, group: Group) -> bool:
        """Tells whether weights were trained as the row wants it, as far as that is known."""
        if group.about is None:
            return self.usual and not self.trained_on
        options = group.about.options
        told = all(options[name] == wanted for name, wanted in self.options if name in options)
        return told and self.trained_on in (0, group.about.trained_on)


def form_of(group: Group, data: str) -> str | None:
    """Returns which form of a paper's data set a group was measured on (``"-jpeg"``), ``None`` if on none.

    Of several the paper's own, else the first by name.
    """
    measured = {measure.cohort.dataset for seed in group.seeds for measure in seed}
    forms = sorted(it.removeprefix(data) for it in measured if data and (it == data or it.startswith(f"{data}-")))
    return forms[0] if forms else None


def is_form(cohort: Cohort, data: str) -> bool:
    """Tells whether a cohort's images are of a data set or a form of it (``"cifar10-jpeg"``)."""
    return cohort.dataset == data or cohort.dataset.startswith(f"{data}-")
