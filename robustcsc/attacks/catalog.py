"""The attacks by name: what each supports, its settings and their defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from robustcsc.attacks import adaptive_pgd, black_box, deepfool, gradient, minimum_norm
from robustcsc.attacks.autoattack_port import autoattack_port
from robustcsc.attacks.threat import Norm, ThreatModel
from robustcsc.errors import AttackError, UnknownNameError

Value = int | float | str
BOTH: tuple[Norm, ...] = ("linf", "l2")


@dataclass(frozen=True, kw_only=True)
class AttackKind:
    """One attack.

    Attributes:
        run: ``(model, images, labels, threat, *, settings, seed)`` to images inside the ball and the box; those with
            `random` also take ``restarts``.
        words: What it is called in tables.
        effort: The setting that says how long it searches, ``""`` if there is none.
        settings: Its settings with their defaults; ``None`` where the default depends on the norm.
        norms: Norms it knows.
        gradients: Whether it needs them.
        random: Whether another seed gives another result, so that restarts make sense.
    """

    run: Callable[..., Tensor]
    words: str
    effort: str = "steps"
    settings: Mapping[str, Value | None] = field(default_factory=dict)
    norms: tuple[Norm, ...] = BOTH
    gradients: bool = True
    random: bool = True


ATTACKS: dict[str, AttackKind] = {
    "fgsm": AttackKind(run=gradient.fgsm, words="FGSM", effort="", random=False),
    "pgd": AttackKind(
        run=gradient.pgd,
        words="PGD",
        settings={"steps": gradient.DEFAULT_STEPS, "step_size": None, "loss": "ce"},
    ),
    "apgd": AttackKind(
        run=adaptive_pgd.apgd, words="APGD", settings={"steps": adaptive_pgd.DEFAULT_STEPS, "loss": "ce"}
    ),
    "apgd-t": AttackKind(
        run=adaptive_pgd.apgd_targeted,
        words="targeted APGD-DLR",
        settings={"steps": adaptive_pgd.DEFAULT_STEPS, "targets": adaptive_pgd.DEFAULT_TARGETS},
    ),
    "square": AttackKind(
        run=black_box.square,
        words="Square",
        effort="queries",
        settings={"queries": black_box.DEFAULT_QUERIES},
        gradients=False,
    ),
    "fab": AttackKind(run=minimum_norm.fab, words="FAB", settings={"steps": minimum_norm.FAB_STEPS}),
    "cw": AttackKind(
        run=minimum_norm.carlini_wagner,
        words="Carlini & Wagner",
        settings={"steps": minimum_norm.CW_STEPS, "searches": minimum_norm.CW_SEARCHES, "rate": minimum_norm.CW_RATE},
        norms=("l2",),
        random=False,
    ),
    "deepfool": AttackKind(
        run=minimum_norm.deepfool_within,
        words="DeepFool",
        settings={"steps": deepfool.MAX_STEPS, "overshoot": deepfool.OVERSHOOT},
        norms=("l2",),
        random=False,
    ),
    "autoattack-port": AttackKind(run=autoattack_port, words="AutoAttack port", effort="", random=False),
}


@dataclass(frozen=True)
class Chosen:
    """An attack with its settings; what is not named has its default.

    Attributes:
        name: A key of `ATTACKS`.
        settings: Settings of that attack.
        restarts: Random restarts, each image keeps its worst case; 1 for attacks without randomness.

    Raises:
        UnknownNameError: There is no such attack.
        AttackError: It has no such setting, or no use for restarts.
    """

    name: str
    settings: Mapping[str, Value] = field(default_factory=dict)
    restarts: int = 1

    def __post_init__(self) -> None:
        if self.name not in ATTACKS:
            raise UnknownNameError("attack", self.name, ATTACKS)
        for setting in self.settings:
            if setting not in self.kind.settings:
                known = ", ".join(self.kind.settings) or "none"
                raise AttackError(f"The attack {self.name} has no setting {setting}: it has {known}.")
        if self.restarts > 1 and not self.kind.random:
            raise AttackError(f"Restarts of {self.name} would all be the same: leave them out.")

    @property
    def kind(self) -> AttackKind:
        """What is known about the attack."""
        return ATTACKS[self.name]

    @property
    def effort(self) -> int | None:
        """Its steps or queries."""
        value = {**self.kind.settings, **self.settings}.get(self.kind.effort)
        return None if value is None else int(value)

    @property
    def label(self) -> str:
        """The name with the settings that are not as by default, but for effort and restarts: ``"pgd (step 0.05)"``."""
        return self._named(())

    @property
    def full_label(self) -> str:
        """The label with effort and restarts, where they are not as by default."""
        effort = self.kind.settings.get(self.kind.effort)
        more = [f"{self.effort} {self.kind.effort}"] if effort != self.effort else []
        more += [f"{self.restarts} restarts"] if self.restarts > 1 else []
        return self._named(more)

    def _named(self, more: tuple[str, ...] | list[str]) -> str:
        own = self.kind.settings
        words = [
            f"{setting.removesuffix('_size')} {value:g}" if isinstance(value, float) else f"{setting} {value}"
            for setting, value in sorted(self.settings.items())
            if setting != self.kind.effort and value != own[setting]
        ]
        return f"{self.name} ({', '.join([*more, *words])})" if more or words else self.name

    def check_norm(self, norm: Norm) -> None:
        """Refuses a norm that the attack does not know.

        Raises:
            AttackError: So it is.
        """
        if norm not in self.kind.norms:
            raise AttackError(
                f"The attack {self.name} knows {' and '.join(self.kind.norms)} only, not {norm}: leave one of them out."
            )

    def craft(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        *,
        seed: int,
        averaged: bool = False,
    ) -> Tensor:
        """Returns images within `threat`, as the function of the attack does.

        Args:
            model: Images (N, C, H, W) in [0, 1] to logits (N, K).
            images: (N, C, H, W) in [0, 1], on the device of `model`.
            labels: (N,) int64, the true classes.
            threat: Norm and budget.
            seed: Seed of everything random.
            averaged: Whether the model returns mean log-probabilities, whose loss is ``"nll"``.

        Raises:
            AttackError: The norm is not one of its, or as the attack's function says.
        """
        self.check_norm(threat.norm)
        more: dict[str, Value] = {"restarts": self.restarts} if self.kind.random else {}
        if averaged and self.settings.get("loss", "ce") == "ce" and "loss" in self.kind.settings:
            more["loss"] = "nll"
        return self.kind.run(model, images, labels, threat, **{**self.settings, **more}, seed=seed)
