"""All runs of a folder ranked: what was measured on the same images stands in one table, and nothing else does.

Training seeds of one model and recipe are one row, as mean and standard deviation.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from robustcsc.errors import StoreError
from robustcsc.measurements.facts import replace
from robustcsc.measurements.perturbations import Attack, Clean, Corruption
from robustcsc.measurements.policies import FixedLambda, Oracle, Policy, WorstOf, lambda_of
from robustcsc.measurements.records import Metric, Precision, Record
from robustcsc.measurements.statistics import Score, SeedScores
from robustcsc.measurements.threats import NORMS, ThreatModel
from robustcsc.measurements.trainings import Training
from robustcsc.reports.attacks.adversarial import attacked_directly, left_by_all
from robustcsc.reports.attacks.tables import usual_budget
from robustcsc.reports.cohorts.cells import summary_columns
from robustcsc.reports.cohorts.cohorts import Cohort, Series, Setting, of_newest_fit, pool, severities_of
from robustcsc.reports.cohorts.join import joined
from robustcsc.reports.cohorts.words import NOISES, corruption_rank, policy_rank
from robustcsc.reports.comparisons.board import Board, BoardImages, By, Entry, Result, column_of
from robustcsc.reports.comparisons.groups import Group, groups_of
from robustcsc.reports.verdict.facts import Condition, Kind


def leaderboards(records: Sequence[Record], trainings: Iterable[Training] = (), by: By = "clean") -> list[Board]:
    """Returns a ranking for every set of images, those with most rows first.

    Parts of one data set that differ in their number of images share a ranking, where each result says its number.

    Args:
        records: What was measured, of any number of runs.
        trainings: How the measured models were trained; those that differ in nothing but their seed are one row.
        by: What to rank by.

    Raises:
        StoreError: There is nothing to rank.
    """
    rows: dict[BoardImages, dict[tuple[int, Policy], _Row]] = defaultdict(dict)
    measured: dict[BoardImages, dict[Place, list[Series]]] = defaultdict(lambda: defaultdict(list))
    groups = groups_of(joined(records), trainings)
    boards_of = _boards_of({measure.cohort.clean_images for it in groups for seed in it.seeds for measure in seed})
    for at, group in enumerate(groups):
        for number, seed in enumerate(group.seeds):
            for (cohort, setting, policy), several in seed.items():
                chosen = not isinstance(lambda_of(policy), Oracle | FixedLambda | WorstOf)
                if chosen and cohort.metric is Metric.ACCURACY and isinstance(setting, Clean | Corruption | Attack):
                    board = boards_of[cohort.clean_images]
                    row = rows[board].setdefault((at, policy), _Row(group, policy, {}))
                    seeds = row.by_total.setdefault(cohort.total, [{} for _ in group.seeds])
                    place = replace(cohort, images=board[2], total=board[3]), setting
                    seeds[number][place] = several
                    measured[board][place] += several
    if not rows:
        raise StoreError("There is nothing to rank: no run has accuracies of a model as it can be used.")
    named = Counter((dataset, split, precision) for dataset, split, _, _, precision in rows)
    boards = [
        _board(images, named[images[0], images[1], images[4]] == 1, list(rows[images].values()), measured[images], by)
        for images in sorted(rows)
    ]
    return sorted(boards, key=lambda board: (-len(board.entries), board.images))


def _boards_of(found: Iterable[BoardImages]) -> dict[BoardImages, BoardImages]:
    """Returns for each set of images its ranking: one for a data set whose sets of images differ in their number."""
    by_name: dict[tuple[str, str, Precision], list[BoardImages]] = defaultdict(list)
    for dataset, split, images, total, precision in found:
        by_name[dataset, split, precision].append((dataset, split, images, total, precision))
    boards: dict[BoardImages, BoardImages] = {}
    for (dataset, split, precision), members in by_name.items():
        parts = len({total for *_, total, _ in members}) == len(members) > 1
        boards |= {it: (dataset, split, "", 0, precision) if parts else it for it in members}
    return boards


Place = tuple[Cohort, Setting]
Cells = Mapping[Place, Sequence[Series]]
"""What was measured under the policies of a row; several series differ in the seed of the measurement."""


class _Row(NamedTuple):
    group: Group
    policy: Policy
    by_total: dict[int, list[dict[Place, Sequence[Series]]]]


def _board(images: BoardImages, alone: bool, rows: Sequence[_Row], measured: Cells, by: By) -> Board:
    conditions = _conditions(measured)
    found = [(row, _results(row, conditions)) for row in rows]
    shown = tuple(it for it in conditions if any(it in results for _, results in found))
    column = column_of(shown, by)
    means = [results[column].scores.mean if column in results else -1.0 for _, results in found]
    ranks = [None if mean < 0 else 1 + sum(other > mean for other in means) for mean in means]
    entries = [
        Entry(row.group, row.policy, results, rank)
        for (row, results), rank in zip(found, ranks, strict=True)
        if results
    ]
    last = len(entries) + 1
    order = sorted(entries, key=lambda it: (it.rank or last, it.group.model, policy_rank(it.policy), it.group.runs))
    return Board(images, alone, shown, by, tuple(order))


def _conditions(measured: Cells) -> list[Condition]:
    """Returns the columns: clean images, means over corruptions of each source, one budget of attacks per norm."""
    found = [Condition(Kind.CLEAN, cohort) for cohort, setting in measured if setting == Clean()]
    by_cohort: dict[Cohort, dict[str, Sequence[Series]]] = defaultdict(dict)
    for (cohort, setting), several in measured.items():
        if isinstance(setting, Corruption):
            by_cohort[cohort][setting.name] = several
    for cohort, by_name in by_cohort.items():
        names = sorted(by_name, key=corruption_rank)
        for members in [members for _, members in summary_columns(names)] or [[name] for name in names]:
            kind = Kind.NOISE if set(members) <= set(NOISES) else Kind.CORRUPTIONS
            severities = tuple(tuple(severities_of(by_name[name])) for name in members)
            found.append(Condition(kind, cohort, tuple(members), severities))
    attacked = [(cohort, it.threat) for cohort, it in measured if isinstance(it, Attack) and it.threat.epsilon]
    for norm in NORMS:
        if budgets := [threat.epsilon for _, threat in attacked if threat.norm == norm]:
            cohort = next(cohort for cohort, threat in attacked if threat.norm == norm)
            found.append(Condition(Kind.ATTACK, cohort, threat=ThreatModel(norm, usual_budget(norm, budgets))))
    return found


def _results(row: _Row, conditions: Iterable[Condition]) -> dict[Condition, Result]:
    """Returns the cells of a row, each of the most images; seeds that lack a part of a column do not enter it."""
    results = {}
    for condition in conditions:
        for total in sorted(row.by_total, reverse=True):
            found = [it for seed in row.by_total[total] if (it := _read(condition, seed)) is not None]
            if found:
                scores = SeedScores(tuple(score for score, _ in found))
                results[condition] = Result(scores, min(count for _, count in found))
                break
    return results


def _read(condition: Condition, cells: Cells) -> tuple[Score, int] | None:
    """Reads a column off what was measured on one training seed, all or nothing: the score, and how many attacks."""
    if condition.kind is Kind.ATTACK:
        return _read_attacks(condition.threat, cells)
    wanted: dict[str, Sequence[int]] = dict(zip(condition.names, condition.severities, strict=True)) or {"": (0,)}
    found = {
        setting.name if isinstance(setting, Corruption) else "": several
        for (cohort, setting), several in cells.items()
        if cohort == condition.cohort and isinstance(setting, Corruption if condition.names else Clean)
    }
    parts = [(series, severities) for name, severities in wanted.items() for series in found.get(name, ())]
    score = pool(parts) if wanted.keys() <= found.keys() else None
    return None if score is None else (score, 0)


def _read_attacks(threat: ThreatModel | None, cells: Cells) -> tuple[Score, int] | None:
    attacks = [
        series[0]
        for (_, setting), several in cells.items()
        if isinstance(setting, Attack) and setting.threat == threat
        for series in several
    ]
    kept = of_newest_fit(attacks) if attacked_directly(attacks) else []  # transfer tests alone rank nobody
    return (left_by_all(kept), len(kept)) if kept else None
