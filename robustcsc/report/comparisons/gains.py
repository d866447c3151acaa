"""What the adaptive lambda gains: against the training lambda, and against the other runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from robustcsc.measurements.statistics import Gain, Score
from robustcsc.records import Record
from robustcsc.report.cohorts import Cohort, Series, Setting, Subject, by_cohort, pool
from robustcsc.report.table import Table
from robustcsc.report.tables import Labels, labels_of, ranked
from robustcsc.report.words import MISSING, corruption_rank, corruption_words, policy_words, severities_words

MOST_RUNS = 6
"""Of more runs side by side, each is compared with the first only: all pairs would fill a book."""

_NOTES = (
    "Gains in percentage points, over the severities both were measured at.",
    "The 95 % interval of a gain is Newcombe's hybrid of the two Wilson intervals (method 10, 1998), as if the "
    "images of the two rows were independent; both rows saw the same images, which usually makes it too wide.",
)
_MANY = f"Of more than {MOST_RUNS} runs each is compared with the first only."


def verdict(gain: Gain, first: str, second: str) -> str:
    """Says in plain words which of `first` and `second` is better, or that there is no gain."""
    if gain.low > 0:
        return f"{first} beats {second} by {gain.points:.1f} points"
    if gain.high < 0:
        return f"{first} loses to {second} by {-gain.points:.1f} points"
    return f"no gain: {signed(gain.points, 1)} points, within the interval"


def signed(number: float, digits: int) -> str:
    """Returns a number with its sign; what rounds to zero is ``"+0.0"``, never ``"-0.0"``."""
    return f"{round(number, digits) + 0.0:+.{digits}f}"


def gain_tables(records: Sequence[Record]) -> list[Table]:
    """Returns one table per cohort: adaptive lambda minus the training lambda and minus every other run.

    A run is compared with another run at that run's own baseline: without lambda, else at its training lambda.
    Tables without a comparison are left out.
    """
    labels = labels_of(records)
    tables = []
    for cohort, settings in by_cohort(records).items():
        if cohort.metric != "accuracy":
            continue
        rows = [
            row
            for setting in sorted(settings, key=lambda it: corruption_rank(it.name))
            if setting.kind in ("clean", "corruption")
            for row in _rows(setting, settings[setting], labels)
        ]
        if rows:
            many = len({(it.run, it.weights) for it in labels}) > MOST_RUNS
            tables.append(_gain_table(cohort, rows, (*_NOTES, _MANY) if many else _NOTES))
    return tables


_Row = tuple[tuple[str, ...], tuple[str, ...], Mapping[int, str]]


def _rows(setting: Setting, measured: Mapping[Subject, Series], labels: Labels) -> Iterator[_Row]:
    """Yields who is compared, the gain of the means, and the gain at each severity."""
    baselines = baselines_of(measured)
    for first in ranked(it for it in measured if it.policy.startswith("adaptive")):
        for second in opponents(first, baselines):
            shared = sorted(set(measured[first]) & set(measured[second]))
            ours, theirs = (pool([(measured[it], shared)]) for it in (first, second))
            if ours is None or theirs is None or not ours.total or not theirs.total:
                continue
            mean = Gain.between(ours, theirs)
            by_severity = {
                severity: signed(_gain(measured[first][severity], measured[second][severity]).points, 2)
                for severity in shared
                if severity
            }
            run, policy = labels[first]
            name = _name(first, second, labels)
            before = (run, policy, name.removeprefix("the "), corruption_words(setting.name))
            interval = f"[{signed(mean.low, 2)}, {signed(mean.high, 2)}]"
            over = severities_words(set(by_severity)) or MISSING
            after = (signed(mean.points, 2), interval, verdict(mean, policy, name), over)
            yield before, after, by_severity


def _gain(first: Record, second: Record) -> Gain:
    return Gain.between(Score(first.correct, first.total), Score(second.correct, second.total))


def baselines_of(subjects: Iterable[Subject]) -> list[Subject]:
    """Returns one row per run, in the order of tables: without lambda, else at its training lambda."""
    baselines: dict[tuple[str, str, str], Subject] = {}
    for subject in ranked(it for it in subjects if it.policy in ("none", "train")):
        baselines.setdefault((subject.run, subject.model, subject.weights), subject)
    return list(baselines.values())


def opponents(subject: Subject, baselines: Sequence[Subject]) -> list[Subject]:
    """Returns the training lambda of the same weights, then the baseline of every other run (of many, of the first)."""
    mine = (subject.run, subject.model, subject.weights)
    own = [it for it in baselines if (it.run, it.model, it.weights) == mine]
    others = [it for it in baselines if (it.run, it.model, it.weights) != mine]
    return own + others[: 1 if len(baselines) > MOST_RUNS else None]


def _name(subject: Subject, opponent: Subject, labels: Labels) -> str:
    if (subject.run, subject.weights) == (opponent.run, opponent.weights):
        return f"the {policy_words(opponent.policy)}"
    run = labels[opponent][0]
    return run if opponent.policy == "none" else f"{run} at its training lambda"


def _gain_table(cohort: Cohort, rows: Sequence[_Row], notes: tuple[str, ...]) -> Table:
    severities = sorted({severity for *_, gains in rows for severity in gains})
    cells = tuple(
        (*before, *after, *(gains.get(severity, MISSING) for severity in severities)) for before, after, gains in rows
    )
    by_severity = (f"severity {severity}" for severity in severities)
    return Table(
        name=cohort.file_name("gains", "" if severities else "clean"),
        title=f"Gains of the adaptive lambda: {cohort.title}",
        columns=(
            *("run", "lambda policy", "compared with", "images"),
            *("mean gain", "95 % interval", "verdict", "severities", *by_severity),
        ),
        rows=cells,
        notes=notes,
    )
