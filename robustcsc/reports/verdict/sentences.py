"""A verdict in two or three sentences of English. They tell differences; the accuracies stand in the table."""

from __future__ import annotations

from collections.abc import Sequence

from robustcsc.measurements.corruptions import STANDARD_CORRUPTIONS
from robustcsc.measurements.policies import NoLambda, TrainingLambda
from robustcsc.measurements.statistics import Difference
from robustcsc.presentation.words import enumerated
from robustcsc.reports.attacks.flags import FLAG_WORDS
from robustcsc.reports.cohorts.cohorts import apart
from robustcsc.reports.cohorts.words import attack_words, corruption_words, policy_words, precision_words, threat_words
from robustcsc.reports.summary.doubts import DOUBT_WORDS
from robustcsc.reports.verdict.facts import Condition, Contrast, Kind, Ratios, Row, Verdict

_NO_VERDICT = (
    "No accuracy of a model as it can be used was measured: fixed lambdas and the oracle, smallest budgets and random "
    "noise allow no verdict."
)
_IT = "it"
_DONE = {
    Kind.CLEAN: "clean images",
    Kind.NOISE: "corruptions",
    Kind.CORRUPTIONS: "corruptions",
    Kind.ATTACK: "attacks",
    Kind.FOOLING: "fooling rates",
}
"""What was done to the images of a column."""
MOST_NAMED = 2
"""Rows that a sentence compares with by name."""
_NOTHING = 0.005
"""Below this accuracy, which rounds to 0 %, next to nothing is left."""


def verdict_sentences(found: Sequence[Verdict]) -> list[str]:
    """Returns what verdicts say; of several, and where it is not float32, each names data set and precision first."""
    said = []
    for verdict in found:
        (first, *others), cohort = _sentences(verdict), verdict.main.cohort
        computed = precision_words(cohort.precision)
        about = [f"{cohort.dataset} {cohort.split}", *computed] if computed or len(found) > 1 else []
        said += [": ".join([*filter(None, [", ".join(about)]), first]), *others]
    return said or [_NO_VERDICT]


def _sentences(verdict: Verdict) -> list[str]:
    """Returns what a verdict says: the main column, what is shown in others, attacks, and what speaks against it."""
    attacks = [it for it in verdict.conditions if it.kind is Kind.ATTACK]
    asides = [it for it in verdict.leads if it not in (verdict.main, *attacks) and _shown(verdict, it)]
    others = [*(_aside(verdict, it) for it in asides), *_related(verdict)]
    if verdict.main in attacks:
        said = [*_attacked(verdict, attacks), *others]
    else:
        said = [_main(verdict), *others, *_attacked(verdict, attacks)]
    return [*said, *_missing(verdict), *_reservations(verdict, attacks)]


def row_words(row: Row) -> tuple[str, str]:
    """Returns the name of a row's model, and its lambda policy."""
    first, *others = row.subjects
    return f"{first.model} ({len(row.subjects)} training seeds)" if others else first.run, policy_words(row.policy)


def condition_words(condition: Condition) -> str:
    """Returns the heading of a column."""
    count, threat = len(condition.names), threat_words(condition.threat) if condition.threat else ""
    match condition.kind:
        case Kind.CLEAN:
            return "clean"
        case Kind.ATTACK:
            return f"attacks, {threat}"
        case Kind.FOOLING:
            return f"fooled by a UAP, {threat}"
        case _ if count == 1:
            return corruption_words(condition.names[0])
    return f"{count} {'noises' if condition.kind is Kind.NOISE else 'corruptions'}"


def mce_words(ratios: Ratios) -> str:
    """Returns the heading of the column of mean corruption errors."""
    return f"mCE, {ratios.baseline.name}"


def _main(verdict: Verdict) -> str:
    main, loss = verdict.main, verdict.loss(verdict.main)
    under, who = _under(main), _name(verdict.leads[main])
    shown, alike = _shown(verdict, main), [it for it in verdict.against(main) if not it.difference.shown]
    if shown:
        more = len(shown) - MOST_NAMED
        behind = f"; {more} more {'is' if more == 1 else 'are'} further behind" if more > 0 else ""
        also = f"; {_alike(_IT, alike)}" if alike else ""
        return f"{under} {_of(who, main)} is {_listed(shown)}{also}{behind}."
    if alike:
        return f"{under} {_alike(_of(who, main), alike)}."
    if loss is not None:
        return f"{under} {_lost(who, main, loss)}."
    if main.kind is Kind.CLEAN:
        return f"Only clean images were measured, which say nothing about the robustness of {who}."
    return f"{under} only {who} was measured: there is nothing to compare it with."


def _aside(verdict: Verdict, condition: Condition) -> str:
    lead = verdict.leads[condition]
    who = _IT if verdict.main.kind is not Kind.ATTACK and lead is verdict.leads[verdict.main] else _name(lead)
    return f"{_under(condition)} {_of(who, condition)} is {_listed(_shown(verdict, condition))}."


def _related(verdict: Verdict) -> list[str]:
    """Says what the mCE decides: more or fewer errors than a baseline without a row, or another order of the models."""
    ratios, condition = verdict.ratios, next((it for it in verdict.leads if it.names == STANDARD_CORRUPTIONS), None)
    if ratios is None or condition is None or verdict.leads[condition] not in ratios.by_row:
        return []
    lead, name = verdict.leads[condition], ratios.baseline.name
    said = []
    shown = any(ratios.baseline.is_among(row.subjects) for row in verdict.rows)
    if not shown and ratios.baseline.suits(condition.cohort):
        fewer = 100 * (1 - ratios.mean(lead))
        amount = f"{abs(fewer):.1f} % {'fewer' if fewer > 0 else 'more'} errors than {name}"
        said.append(f"{_under(condition)} {_name(lead)} makes {amount}, averaged over the corruptions (mCE).")
    behind = [it.second for it in _shown(verdict, condition) if it.difference.points > 0]
    best = min((row for row in behind if row in ratios.by_row), key=ratios.mean, default=lead)
    if ratios.mean(best) < ratios.mean(lead):
        points = 100 * (ratios.mean(lead) - ratios.mean(best))
        said.append(
            f"By mCE, which weighs each corruption by the errors of {name}, {_name(best)} is {points:.1f} points "
            f"better than {_name(lead)}."
        )
    return said


def _attacked(verdict: Verdict, attacks: Sequence[Condition]) -> list[str]:
    gone = [it for it in attacks if it in verdict.leads and verdict.leads[it].results[it].score.rate < _NOTHING]
    transfer = [it for it in attacks if it not in verdict.leads]
    said = []
    if gone:
        nothing = all(verdict.leads[it].results[it].score.met == 0 for it in gone)
        asked = [  # all of them are gone, as the best one is
            row for row in verdict.rows if any(it in row.results and not row.results[it].transfer for it in gone)
        ]
        by = _name(verdict.leads[gone[0]]) if len(asked) == 1 else row_words(asked[0])[0]
        by = "any model" if len({row.subjects for row in asked}) > 1 else by
        left = "no image is" if nothing else f"fewer than {_NOTHING:.1%} of the images are"
        said.append(f"Under attack ({_attempts(verdict, gone)}) {left} classified right by {by}.")
    for it in attacks:
        if it in verdict.leads and it not in gone:
            said.append(_left(verdict, it))
    if transfer:
        threats = enumerated(threat_words(it.threat) for it in transfer if it.threat)
        said.append(f"Of attacks ({threats}) only transfer tests were made, which say little about robustness.")
    return said


def _left(verdict: Verdict, condition: Condition) -> str:
    """Says who is left most under attack."""
    under, who = f"Under attack ({_attempts(verdict, [condition])})", _name(verdict.leads[condition])
    contrasts, loss = verdict.against(condition), verdict.loss(condition)
    if shown := _shown(verdict, condition):
        return f"{under} {_of(who, condition)} is {_listed(shown)}."
    if contrasts:
        return f"{under} {_alike(_of(who, condition), contrasts)}."
    if loss is not None:
        return f"{under} {_lost(who, condition, loss)}."
    return f"{under} {who} keeps part of its accuracy."


def _attempts(verdict: Verdict, attacks: Sequence[Condition]) -> str:
    """Returns budgets, attacks and images: ``"L∞ 8/255, worst of 9 attacks, 500 images"``."""
    results = [verdict.leads[it].results[it] for it in attacks]
    counts, images = sorted({it.attacks for it in results}), sorted({it.images for it in results})
    threats = enumerated(threat_words(it.threat) for it in attacks if it.threat)
    tried = f"{threats}, {'worst' if all(it.together for it in results) else 'strongest'} of {_range(counts)} attacks"
    if counts == [1]:
        tried = " and ".join(attack_words(it.strongest) for it in results if it.strongest)
    return f"{tried}, {_range(images)} images"


def _missing(verdict: Verdict) -> list[str]:
    """Says which models were measured otherwise than those that are compared, and on how many images."""
    by_run: dict[str, list[str]] = {}
    for it in verdict.missing:
        where = apart(it.cohort, (it.cohort, it.condition.cohort)) or "not all that is compared"
        by_run.setdefault(it.subject.run, []).append(f"{_DONE[it.condition.kind]}: {where}")
    named = [f"{run} ({'; '.join(whats)})" for run, whats in by_run.items()]
    return [f"Measured otherwise, so not compared: {enumerated(named)}."] if named else []


def _reservations(verdict: Verdict, attacks: Sequence[Condition]) -> list[str]:
    """Says what speaks against figures."""
    said = []
    for row in verdict.rows:
        flags = dict.fromkeys(flag for it in attacks if it in row.results for flag in row.results[it].flags)
        if flags:
            reasons = "; ".join(FLAG_WORDS[flag] for flag in flags)
            said.append(f"The attacks on {_name(row)} are too weak to tell ({reasons}).")
    said += [f"{run} {DOUBT_WORDS[doubt]}." for run, doubts in verdict.doubts.items() for doubt in doubts]
    return said


def _under(condition: Condition) -> str:
    match condition.kind:
        case Kind.CLEAN:
            return "On clean images"
        case Kind.FOOLING if condition.threat:
            return f"By a universal perturbation ({threat_words(condition.threat)})"
    words = condition_words(condition)
    return f"Under {words}" if len(condition.names) == 1 else f"Under the {words}"


def _of(who: str, condition: Condition) -> str:
    measure = "fooling rate" if condition.kind is Kind.FOOLING else "accuracy"
    return f"its {measure}" if who == _IT else f"the {measure} of {who}"


def _name(row: Row) -> str:
    name, policy = row_words(row)
    match row.policy:
        case NoLambda():
            return name
        case TrainingLambda():
            return f"{name} at its {policy}"
    return f"{name} with {policy}"


def _other(contrast: Contrast, *, own: str = "at its") -> str:
    """Names the accuracy of the second row, which may be the model's own at another lambda."""
    if contrast.second.subjects == contrast.first.subjects:
        return f"{own} {row_words(contrast.second)[1]}"
    return f"that of {_name(contrast.second)}"


def _shown(verdict: Verdict, condition: Condition) -> list[Contrast]:
    return [it for it in verdict.against(condition) if it.difference.shown]


def _listed(contrasts: Sequence[Contrast]) -> str:
    """Returns ``"2.5 points higher than at A (...) and 1.0 points lower than that of B (...)"``, of the first ones."""
    return enumerated(
        f"{_amount(it.difference)} than {_other(it)} {_sure(it.difference)}" for it in contrasts[:MOST_NAMED]
    )


def _lost(who: str, condition: Condition, loss: Difference) -> str:
    if loss.shown:
        return f"{_of(who, condition)} is {_amount(loss)} than on clean images {_sure(loss)}"
    return f"{_of(who, condition)} is not shown to be lower than on clean images {_told(loss)}"


def _alike(whose: str, contrasts: Sequence[Contrast]) -> str:
    """Returns ``"the accuracy of A is not shown to differ from that of B (...) or that of C (...)"``."""
    named = [f"{_other(it, own='that at its')} {_told(it.difference)}" for it in contrasts[:MOST_NAMED]]
    more = len(contrasts) - MOST_NAMED
    others = [f"{'that' if more == 1 else 'those'} of {more} more"] if more > 0 else []
    return f"{whose} is not shown to differ from {enumerated([*named, *others], last='or')}"


def _told(difference: Difference) -> str:
    return f"({difference.points:+.1f} points, {_sure(difference)[1:]}"


def _amount(difference: Difference) -> str:
    return f"{abs(difference.points):.1f} points {'higher' if difference.points > 0 else 'lower'}"


def _sure(difference: Difference) -> str:
    """Returns the interval of a difference in the direction that is spoken of, and the p-value."""
    low, high = difference.low, difference.high
    if difference.shown and difference.points < 0:
        low, high = -high, -low
    return f"([{low:.1f}, {high:.1f}], {_p_words(difference.p_value)})"


def _p_words(p_value: float | None) -> str:
    if p_value is None:
        return "not paired"
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.{2 if p_value >= 0.01 else 3}f}"


def _range(counts: Sequence[int]) -> str:
    ends = [f"{count:,}" for count in counts]
    return ends[0] if len(ends) == 1 else f"{ends[0]} to {ends[-1]}"
