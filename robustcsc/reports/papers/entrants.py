"""Whose figures the rows of papers show, and which forms of the papers' data sets count."""

from __future__ import annotations

from dataclasses import dataclass

from robustcsc.measurements.policies import Adaptive, NoLambda, Policy, TrainingLambda
from robustcsc.reports.cohorts.cohorts import Cohort
from robustcsc.reports.comparisons.groups import Group

PLAIN: tuple[Policy, ...] = (NoLambda(), TrainingLambda())
"""Policies of a model as it was trained."""


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """Whose figures a row of a paper's table shows.

    Attributes:
        model: Name in the catalog; ``""`` if this toolkit has none of the kind.
        data: The data set; forms of it (``"cifar10-jpeg"``) count, and are named.
        policies: Lambda policies; of several the first that was measured.
        options: Options of the model that tell its row from others.
        usual: Whether these are the options that the model has by default.
        trained_on: Number of training images, 0 for any.
        lam: The lambda that has to be used; ``None`` for any.
    """

    model: str = ""
    data: str = ""
    policies: tuple[Policy, ...] = PLAIN
    options: tuple[tuple[str, object], ...] = ()
    usual: bool = True
    trained_on: int = 0
    lam: float | None = None

    @property
    def adaptive(self) -> bool:
        """Whether lambda is predicted when the model is used."""
        return isinstance(self.policies[0], Adaptive)

    def is_trained_as(self, group: Group) -> bool:
        """Whether a group's weights were trained as the row wants it, as far as that is known."""
        if group.about is None:
            return self.usual and not self.trained_on
        options = group.about.options
        told = all(options[name] == wanted for name, wanted in self.options if name in options)
        return told and self.trained_on in (0, group.about.trained_on)

    def form(self, group: Group) -> str | None:
        """Returns which form of the data set a group was measured on (``"-jpeg"``), ``None`` if on none.

        Of several the paper's own (``""``), else the first by name.
        """
        cohorts = {measure.cohort for seed in group.seeds for measure in seed}
        forms = (it.dataset.removeprefix(self.data) for it in cohorts if self.data and self.has_images(it))
        return min(forms, default=None)

    def has_images(self, cohort: Cohort) -> bool:
        """Whether a cohort's images are of the data set or a form of it."""
        return cohort.dataset == self.data or cohort.dataset.startswith(f"{self.data}-")
