"""The attacks by name, as facts: settings, defaults, norms; `robustcsc.attacks.searches` has what runs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

from robustcsc.errors import AttackError, UnknownNameError, hint
from robustcsc.measurements.facts import Fact
from robustcsc.measurements.threats import NORMS, Norm, parse_epsilon

Value = int | float | str
_MOST = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class AttackKind:
    """One attack.

    Attributes:
        words: Its name in tables.
        effort: The setting that says how long it searches, ``""`` if there is none.
        settings: Its settings with their defaults; ``None`` where the default depends on the budget.
        norms: Norms it supports.
        gradients: Whether it takes gradients of the attacked model.
        random: Whether another seed gives another result, so that restarts make sense.
        classes: Smallest number of classes that it is defined for.
        wrong_too: Whether it attacks images that are misclassified already, whose changes other models may meet.
    """

    words: str
    effort: str = "steps"
    settings: Mapping[str, Value | None] = field(default_factory=dict)
    norms: tuple[Norm, ...] = NORMS
    gradients: bool = True
    random: bool = True
    classes: int = 2
    wrong_too: bool = False


#: Every attack on the accuracy.
ATTACKS: dict[str, AttackKind] = {
    "fgsm": AttackKind(words="FGSM", effort="", random=False, wrong_too=True),
    "pgd": AttackKind(words="PGD", settings={"steps": 20, "step_size": None, "loss": "ce"}, wrong_too=True),
    "apgd": AttackKind(words="APGD", settings={"steps": 100, "loss": "ce"}),
    "apgd-t": AttackKind(words="APGD-T", settings={"steps": 100, "targets": 9}, classes=4),
    "square": AttackKind(words="Square", effort="queries", settings={"queries": 5000}, gradients=False),
    "fab": AttackKind(words="FAB", settings={"steps": 100}),
    "cw": AttackKind(words="C&W", settings={"steps": 100, "searches": 6, "rate": 0.05}, norms=("l2",), random=False),
    "deepfool": AttackKind(words="DeepFool", settings={"steps": 50, "overshoot": 0.02}, norms=("l2",), random=False),
    "autoattack-port": AttackKind(words="AutoAttack port", effort="", random=False, classes=4),
}


class AttackStep(Fact, frozen=True):
    """One attack with all its settings.

    Attributes:
        name: A key of `ATTACKS`.
        settings: Name and value of every setting that has one, by name, defaults included.
        restarts: Random restarts; each image keeps its worst case.

    Raises:
        UnknownNameError: There is no such attack.
        AttackError: It has no such setting, or restarts would not change its result.
    """

    name: str
    settings: tuple[tuple[str, Value], ...] = ()
    restarts: Annotated[int, Meta(ge=1, le=_MOST)] = 1

    def __post_init__(self) -> None:
        kind = self.kind
        for setting, _ in self.settings:
            _check_setting(self.name, setting)
        if self.restarts > 1 and not kind.random:
            raise AttackError(f"Restarts of {self.name} would all be the same: leave --restarts out.")

    @classmethod
    def of(cls, name: str, *, restarts: int = 1, **settings: Value) -> AttackStep:
        """Returns an attack; settings that are not named have their defaults. Raises what the class raises."""
        known = kind_of(name).settings
        chosen = {setting: default for setting, default in known.items() if default is not None}
        for key, value in settings.items():
            chosen[key] = value if isinstance(known.get(key, ""), str | int) else float(value)
        return cls(name=name, settings=tuple(sorted(chosen.items())), restarts=restarts)

    @property
    def kind(self) -> AttackKind:
        """What is known about the attack."""
        return kind_of(self.name)

    @property
    def effort(self) -> int | None:
        """Its steps or queries; ``None`` if it has none."""
        value = dict(self.settings).get(self.kind.effort)
        return None if value is None else int(value)

    @property
    def classes(self) -> int:
        """Smallest number of classes that it is defined for: the DLR loss needs three."""
        return max(self.kind.classes, 3 if dict(self.settings).get("loss") == "dlr" else 0)

    @property
    def changed(self) -> dict[str, Value]:
        """The settings that differ from their defaults."""
        return {setting: value for setting, value in self.settings if value != self.kind.settings[setting]}

    def check_norm(self, norm: Norm) -> None:
        """Refuses a norm that the attack does not support.

        Raises:
            AttackError: The attack does not support `norm`.
        """
        if norm not in self.kind.norms:
            raise AttackError(f"The attack {self.name} supports {' and '.join(self.kind.norms)}, not {norm}.")

    def check_classes(self, num_classes: int) -> None:
        """Raises an `AttackError` if the attack is not defined for so few classes."""
        if self.classes > num_classes:
            raise AttackError(
                f"The attack {typed_step(self)} needs at least {self.classes} classes, but the model has "
                f"{num_classes}: leave it out."
            )


def kind_of(name: str) -> AttackKind:
    """Returns what is known about an attack.

    Raises:
        UnknownNameError: There is no such attack.
    """
    if name not in ATTACKS:
        raise UnknownNameError("attack", name, ATTACKS)
    return ATTACKS[name]


def _check_setting(name: str, setting: str) -> None:
    kind = kind_of(name)
    if setting not in kind.settings:
        known = [*kind.settings, *(["restarts"] if kind.random else [])]
        raise AttackError(
            f"The attack {name} has no setting {setting!r}: {hint(setting, known) if known else 'it has none.'}"
        )


def parse_step(text: str) -> AttackStep:
    """Returns the attack that a user typed: its name, then settings and restarts behind colons.

    Examples:
        >>> parse_step("pgd:steps=40:restarts=2").changed
        {'steps': 40}

    Raises:
        UnknownNameError: There is no such attack.
        AttackError: A setting is unknown, or its value cannot be read.
    """
    name, *words = text.split(":")
    settings: dict[str, Value] = {}
    restarts = 1
    for word in words:
        setting, _, typed = word.partition("=")
        setting = setting.replace("-", "_")
        if setting == "restarts":
            restarts = int(_number(name, setting, typed, whole=True))
            continue
        _check_setting(name, setting)
        default = kind_of(name).settings[setting]
        whole = isinstance(default, int)
        settings[setting] = typed if isinstance(default, str) else _number(name, setting, typed, whole=whole)
    return AttackStep.of(name, restarts=restarts, **settings)


def _number(name: str, setting: str, typed: str, *, whole: bool) -> int | float:
    try:
        value = int(typed) if whole else parse_epsilon(typed)
    except (ValueError, AttackError) as error:
        raise AttackError(f"{setting}={typed} of the attack {name} is no number: write {setting}=10, say.") from error
    if not 0 < value <= _MOST:
        raise AttackError(f"{setting}={typed} of the attack {name} must be above 0 and at most {_MOST}.")
    return value


def typed_step(step: AttackStep) -> str:
    """Returns an attack as a user types it, with the settings that differ from their defaults.

    Examples:
        >>> typed_step(AttackStep.of("pgd", steps=40))
        'pgd:steps=40'
    """
    settings = [f"{name}={value}" for name, value in step.changed.items()]
    return ":".join([step.name, *settings, *([f"restarts={step.restarts}"] if step.restarts > 1 else [])])
