"""What a shell completes after Tab; known without torch.

Each function takes what was typed of a word, and returns the words it may become.
"""

from collections.abc import Callable, Iterable

from robustcsc.errors import StoreError
from robustcsc.measurements.adaptations import ADAPTATION_WORDS
from robustcsc.measurements.attacks import ATTACKS
from robustcsc.measurements.datasets import DATASETS
from robustcsc.measurements.kernels import GROUPS, PARAMETERS
from robustcsc.measurements.policies import POLICY_WORDS
from robustcsc.models.known import known_models
from robustcsc.models.shipped import SHIPPED


def run_names(incomplete: str) -> list[str]:
    """Returns runs of the working directory and shipped models."""
    from robustcsc import runs  # only here: half of what options would import otherwise

    try:
        names = [run.name for run in runs.existing()]
    except StoreError:  # nothing is told within a half-typed command
        names = []
    return _beginning(incomplete, dict.fromkeys((*names, *SHIPPED)))


def model_names(incomplete: str) -> list[str]:
    """Returns models of the catalog."""
    return _beginning(incomplete, known_models())


def data_names(incomplete: str) -> list[str]:
    """Returns data sets."""
    return _beginning(incomplete, DATASETS)


def _beginning(incomplete: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def _listed(*words: str) -> Callable[[str], list[str]]:
    """Returns what completes the last word of a list with commas."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [f"{before}{comma}{word}" for word in _beginning(last, words) if word not in before.split(",")]

    return complete


corruption_lists = _listed("all", "standard", *GROUPS, *PARAMETERS)
attack_lists = _listed(*ATTACKS)
policy_lists = _listed(*POLICY_WORDS)
adaptation_lists = _listed(*ADAPTATION_WORDS)
