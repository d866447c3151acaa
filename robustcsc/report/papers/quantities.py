"""What the tables of papers show: sizes, accuracies, times and fooling rates of models over their training seeds."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import NamedTuple

from robustcsc.measurements.statistics import Score, SeedScores
from robustcsc.records import FOOLING, Record
from robustcsc.report.adversarial import left_by_all, of_newest_fit
from robustcsc.report.cohorts import Cohort, Series, Setting, total_score
from robustcsc.report.measured import ADAPTIVE, Group, Who, is_form
from robustcsc.report.words import score_words, spread_words

UNMEASURED = "not measured"
SEVERITIES = (1, 2, 3, 4, 5)

_ORIGINS = ("official", "generated")


@dataclass(frozen=True, kw_only=True)
class What:
    """A quantity.

    Attributes:
        kind: A key of the quantities below; ``""`` for what is never measured here.
        name: The corruption.
        severities: Those that are averaged.
        norm: The norm of an attack.
        epsilon: Its budget, in pixel units of [0, 1].
    """

    kind: str = ""
    name: str = ""
    severities: tuple[int, ...] = SEVERITIES
    norm: str = ""
    epsilon: float = 0.0


@dataclass(frozen=True)
class Value:
    """A filled cell.

    Attributes:
        text: The cell.
        place: The images it was measured on and the number of trainings, in words; ``""`` if there are none.
    """

    text: str
    place: str = ""


def value(what: What, group: Group, who: Who, told: Sequence[str] = ()) -> Value | None:
    """Returns a quantity of a group as a cell, ``None`` if it was not measured.

    Args:
        what: The quantity.
        group: Whose it is.
        who: What the row and its column ask for.
        told: Options of the model to name behind it.
    """
    made = _QUANTITIES[what.kind](what, group, who)
    if made is None or group.about is None:
        return made
    named = [str(group.about.options[name]) for name in told if name in group.about.options]
    return replace(made, text=f"{made.text} ({', '.join(named)})") if named else made


def _never(what: What, group: Group, who: Who) -> Value | None:
    return None


def _parameters(what: What, group: Group, who: Who) -> Value | None:
    return None if group.about is None else Value(f"{group.about.parameters / 1e6:.2f}M")


def _speed(what: What, group: Group, who: Who) -> Value | None:
    seconds = _seconds(group)
    if seconds is None or group.about is None:
        return None
    return Value(f"{group.about.trained_on * group.about.epochs / seconds:.0f}")


def _training_time(what: What, group: Group, who: Who) -> Value | None:
    seconds = _seconds(group)
    return None if seconds is None else Value(f"{seconds:.0f}")


def _training_time_per_image(what: What, group: Group, who: Who) -> Value | None:
    seconds = _seconds(group)
    return None if seconds is None or group.about is None else Value(f"{seconds / group.about.trained_on:.3g}")


def _seconds(group: Group) -> float | None:
    """Returns the mean time of a training."""
    return fmean(it.seconds for it in group.trainings) if group.trainings else None


def _test_time_per_image(what: What, group: Group, who: Who) -> Value | None:
    cells = [
        record
        for seed in group.seeds
        for place, found in seed.items()
        if place.setting.kind == "clean" and place.policy in who.policies
        for series in found
        for record in series.values()
    ]
    return Value(f"{fmean(it.seconds / it.total for it in cells):.3g}") if cells else None


def _clean(what: What, group: Group, who: Who) -> Value | None:
    return _accuracy(group, who, lambda it: it.kind == "clean", (0,))


def _best(what: What, group: Group, who: Who) -> Value | None:
    chosen = _chosen(group, who, lambda it: it.kind == "clean", (0,))
    return chosen and Value(f"{100 * chosen.spread.best:.2f}", chosen.place)


def _corruption(what: What, group: Group, who: Who) -> Value | None:
    return _accuracy(group, who, lambda it: it.kind == "corruption" and it.name == what.name, what.severities)


def _lambda(what: What, group: Group, who: Who) -> Value | None:
    accept = _accepts_corruption(what.name)
    found = [
        record.lam
        for seed in group.seeds
        for place, several in seed.items()
        if accept(place.setting) and place.policy in who.policies and is_form(place.cohort, who.data)
        for series in several
        for severity, record in series.items()
        if severity in what.severities and record.lam is not None
    ]
    return Value(f"{fmean(found):.2f}") if found else None


def _accepts_corruption(name: str) -> Callable[[Setting], bool]:
    return lambda it: it.kind == "corruption" and it.name == name


def _pgd(what: What, group: Group, who: Who) -> Value | None:
    """Returns the accuracy under PGD with the most steps: at the tuned lambda, where the row has one, static."""
    protocol = "static" if who.policies[0] in ADAPTIVE else "plain"

    def accept(it: Setting) -> bool:
        return it.basic and it.name.startswith("pgd") and it.protocol == protocol and _at_budget(it, what)

    longest = max(
        (place.setting.steps or 0 for seed in group.seeds for place in seed if accept(place.setting)), default=0
    )
    found = _accuracy(group, who, lambda it: accept(it) and (it.steps or 0) == longest, (0,))
    return found and replace(found, text=f"{found.text}, {longest} steps")


def _all_attacks(what: What, group: Group, who: Who) -> Value | None:
    """Returns what all attacks together leave, image by image, on the weights that they leave least of."""
    policies = ADAPTIVE if who.policies[0] in ADAPTIVE else who.policies
    left: dict[Cohort, list[tuple[Score, int]]] = defaultdict(list)
    for seed in group.seeds:
        by_cohort: dict[Cohort, list[Record]] = defaultdict(list)
        for place, several in seed.items():
            counts = place.cohort.metric == "accuracy" and is_form(place.cohort, who.data)
            if (
                counts
                and place.setting.kind == "attack"
                and _at_budget(place.setting, what)
                and place.policy in policies
            ):
                by_cohort[place.cohort] += [series[0] for series in several]
        for cohort, found in by_cohort.items():
            records = of_newest_fit(found)
            left[cohort].append((left_by_all(records), len(records)))
    if not left:
        return None
    cohort = max(left, key=lambda it: (len(left[it]), it.total, it))
    score, count = min(left[cohort])
    return Value(f"{score_words(score)}, {count} attack{'s' if count > 1 else ''}", _place(cohort, len(left[cohort])))


def _fooling(what: What, group: Group, who: Who) -> Value | None:
    return _accuracy(group, who, lambda it: it.kind == "uap" and _at_budget(it, what), (0,), FOOLING)


def _at_budget(setting: Setting, what: What) -> bool:
    return setting.norm == what.norm and math.isclose(setting.epsilon or 0.0, what.epsilon, rel_tol=1e-6)


_QUANTITIES: Mapping[str, Callable[[What, Group, Who], Value | None]] = {
    "": _never,
    "parameters": _parameters,
    "speed": _speed,
    "training time": _training_time,
    "training time per image": _training_time_per_image,
    "test time per image": _test_time_per_image,
    "clean": _clean,
    "best": _best,
    "corruption": _corruption,
    "lambda": _lambda,
    "pgd": _pgd,
    "all attacks": _all_attacks,
    "fooling": _fooling,
}


class _Chosen(NamedTuple):
    spread: SeedScores
    place: str


def _accuracy(
    group: Group, who: Who, accept: Callable[[Setting], bool], severities: Sequence[int], metric: str = "accuracy"
) -> Value | None:
    chosen = _chosen(group, who, accept, severities, metric)
    return chosen and Value(spread_words(chosen.spread), chosen.place)


def _chosen(
    group: Group, who: Who, accept: Callable[[Setting], bool], severities: Sequence[int], metric: str = "accuracy"
) -> _Chosen | None:
    """Returns the scores that a cell shows, one per training: those on the largest set of images.

    Trainings that lack one of the severities are left out; published files go before generated corruptions.
    """
    for policy in who.policies:
        found: dict[Cohort, list[Score]] = defaultdict(list)
        for seed in group.seeds:
            mine: dict[Cohort, list[Score]] = defaultdict(list)
            for place, several in seed.items():
                cohort = place.cohort
                wanted = place.policy == policy and cohort.metric == metric and is_form(cohort, who.data)
                if wanted and accept(place.setting):
                    mine[cohort] += [_total(it, severities) for it in several if _whole(it, severities, who.lam)]
            for cohort, scores in mine.items():
                if scores:
                    found[cohort].append(_mean(scores))
        if found:
            cohort = max(found, key=lambda it: (len(found[it]), it.total, -_origin(it), it))
            return _Chosen(SeedScores(tuple(found[cohort])), _place(cohort, len(found[cohort])))
    return None


def _origin(cohort: Cohort) -> int:
    return _ORIGINS.index(cohort.source) if cohort.source in _ORIGINS else len(_ORIGINS)


def _whole(series: Series, severities: Sequence[int], lam: float | None) -> bool:
    return all(
        it in series and (lam is None or math.isclose(series[it].lam or 0.0, lam, abs_tol=1e-6)) for it in severities
    )


def _total(series: Series, severities: Sequence[int]) -> Score:
    return total_score([series[it] for it in severities])


def _mean(scores: Sequence[Score]) -> Score:
    return scores[0]._replace(correct=round(fmean(it.correct for it in scores)))


def _place(cohort: Cohort, seeds: int) -> str:
    words = f"{cohort.dataset}, {cohort.total} images"
    return f"{words}, {seeds} seeds" if seeds > 1 else words
