"""Plans of attacks on the accuracy: attacks by name, searches for the smallest budgets, and suites."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from robustcsc.errors import AttackError, PolicyError, RobustCSCError, StoreError
from robustcsc.evaluation.attacks.suites import Suite
from robustcsc.evaluation.plan import Chain, ModelFacts, Planner, Target
from robustcsc.evaluation.targets import check_protocol, targets
from robustcsc.files import check_writable
from robustcsc.measurements.adaptations import reading_of
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.perturbations import Attack, MinimalBudget, Surrogate
from robustcsc.measurements.policies import multiples_of
from robustcsc.measurements.protocols import BASIC, Protocol
from robustcsc.measurements.threats import Norm, ThreatModel, check_budget, check_step_size
from robustcsc.progress import Note, quiet


@dataclass(frozen=True, kw_only=True)
class AttackRequest:
    """What to attack with, and how the attacks meet lambda.

    Attributes:
        steps: The attacks.
        threats: Norms and budgets.
        protocols: How the attacks meet lambda; if empty, every protocol that suits the model (`completed`).
        lambdas: The lambdas of the protocols ``fixed`` and ``grid``; ``None`` for the default grid.
        in_turn: Whether an attack gets only the images that the ones before it left, where the protocol allows it; its
            record then counts them all.
        smallest: Whether to search for the smallest budget that breaks each image, up to that of the threat.
        surrogate: The model that transfer attacks are crafted on.
        seed: Seed of everything random.

    Raises:
        AttackError: A budget or step size looks like grey levels, an attack does not support a norm, takes gradients
            under the protocol black-box, or cannot be part of a search for the smallest budgets.
        PolicyError: A protocol does not go with that search.

    Examples:
        >>> import robustcsc as rc
        >>> from robustcsc.measurements.attacks import AttackStep
        >>> request = rc.AttackRequest(steps=(AttackStep.of("fgsm"),), threats=(rc.ThreatModel("linf", 8 / 255),))
        >>> sdnet = rc.open("sdnet-digits")
        >>> clean, attacked = sdnet.attack(sdnet.images(limit=50), request)
        >>> clean.met, attacked.met
        (48, 45)
    """

    steps: tuple[AttackStep, ...]
    threats: tuple[ThreatModel, ...]
    protocols: tuple[Protocol, ...] = ()
    lambdas: tuple[float, ...] | None = None
    in_turn: bool = False
    smallest: bool = False
    surrogate: Surrogate | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.smallest:
            self._check_search()
        for threat in self.threats:
            check_budget(threat)
        for step in self.steps:
            for threat in self.threats:
                step.check_norm(threat.norm)
                check_step_size(dict(step.settings).get("step_size"), threat)
            if Protocol.BLACK_BOX in self.protocols and step.kind.gradients:
                raise AttackError(
                    f"The protocol black-box is without gradients: leave it or the attack {step.name} out."
                )

    def _check_search(self) -> None:
        for protocol in self.protocols:
            if not protocol.white_box or protocol is Protocol.GRID:
                raise PolicyError(
                    f"--min-epsilon goes with the protocols plain, fixed and adaptive, not with {protocol}."
                )
        if len(self.threats) != 1 or not self.threats[0].epsilon:
            raise AttackError("--min-epsilon searches up to one budget: write one --epsilon above 0.")
        if any("step_size" in dict(step.settings) for step in self.steps):
            raise AttackError("--min-epsilon chooses the step size by the budget: leave --step-size out.")
        if self.in_turn:
            raise AttackError("--min-epsilon searches with each attack by itself: leave --in-turn out.")


def attack_plan(planner: Planner, request: AttackRequest) -> list[Chain]:
    """Returns the cells of a request.

    Raises:
        PolicyError: A protocol needs a lambda, a fit or another model that is not there.
    """
    if request.smallest and any(made and reading_of(made) for made in planner.model.test_time):
        raise PolicyError("--min-epsilon tries images one by one: leave bn, shift and tent out of --test-time.")
    if Protocol.TRANSFER in request.protocols:
        if request.surrogate is None:
            raise PolicyError("The protocol transfer needs a run to craft on: name it with --from.")
        if request.surrogate.weights == planner.model.subject.weights:
            raise PolicyError(
                "A transfer attack is crafted on another model, but --from names the same weights: name another run."
            )
    return [
        chain
        for threat in request.threats
        for protocol in request.protocols
        for target in targets(planner.model, protocol, request.lambdas)
        for chain in _chains(planner, request, threat, target)
    ]


def _chains(planner: Planner, request: AttackRequest, threat: ThreatModel, target: Target) -> Iterator[Chain]:
    """Yields the cells of one target: one chain of attacks in turn, or each attack by itself."""
    if request.smallest:
        for step in request.steps:
            search = MinimalBudget(step=step, threat=threat, protocol=target.protocol, seed=request.seed)
            yield planner.attacks([search], target)
        return
    surrogate = request.surrogate if target.protocol is Protocol.TRANSFER else None

    def attack(*steps: AttackStep) -> Attack:
        return Attack(steps=steps, threat=threat, protocol=target.protocol, seed=request.seed, surrogate=surrogate)

    # Where lambda is chosen for the whole set or the images are of another model, each attack starts with all images.
    if request.in_turn and target.protocol not in (Protocol.STATIC, Protocol.TRANSFER):
        counts = range(1, len(request.steps) + 1)
        yield planner.attacks([attack(*request.steps[:count]) for count in counts], target)
    else:
        yield from (planner.attacks([attack(step)], target) for step in request.steps)


def suiting(suite: Suite, model: ModelFacts, *, surrogate: bool) -> tuple[list[Protocol], list[Protocol]]:
    """Returns which protocols of a suite suit the model, and which are left out for want of a fit or a surrogate."""
    kept: list[Protocol] = []
    left_out: list[Protocol] = []
    for protocol in dict.fromkeys(each.protocol for each in (*suite.rounds, *suite.curve_rounds)):
        transfer = protocol is Protocol.TRANSFER
        suits = (model.has_lambda or not protocol.needs_lambda) and (bool(model.per_image) or not protocol.needs_fit)
        if suits and (surrogate or not transfer):
            kept.append(protocol)
        elif model.has_lambda or transfer:
            left_out.append(protocol)
    return kept, left_out


def suite_plan(
    planner: Planner,
    suite: Suite,
    norms: Sequence[Norm],
    *,
    epsilons: Sequence[float] = (),
    surrogate: Surrogate | None = None,
    seed: int = 0,
    note: Note = quiet,
) -> list[Chain]:
    """Returns the cells of a suite, at `epsilons` if there are any (`Suite.budgets`).

    Protocols that do not suit the model are left out (`suiting`).

    Raises:
        PolicyError: The surrogate has the weights of the model, or the suite has no transfer attacks for it.
    """
    kept, left_out = suiting(suite, planner.model, surrogate=surrogate is not None)
    if surrogate is not None and Protocol.TRANSFER not in kept:
        raise PolicyError("This suite has no transfer attacks: leave --from out.")
    needs = [f"{it} (needs {'--from RUN' if it is Protocol.TRANSFER else 'a lambda fit'})" for it in left_out]
    if needs:
        note(f"Left out: {', '.join(needs)}.")
    requests = [
        AttackRequest(
            steps=tuple(step for step in each.attacks if norm in step.kind.norms),
            threats=(ThreatModel(norm, epsilon),),
            protocols=(each.protocol,),
            lambdas=multiples_of(planner.model.lam0, each.multiples) if each.multiples else None,
            in_turn=True,
            surrogate=surrogate,
            seed=seed,
        )
        for norm in norms
        for epsilon, rounds in suite.budgets(norm, epsilons)
        for each in rounds
        if each.protocol in kept
    ]
    return [chain for request in requests for chain in attack_plan(planner, request)]


def completed(request: AttackRequest, model: ModelFacts, surrogate: Surrogate | None) -> AttackRequest:
    """Returns a request with the protocols that suit the model where it names none, and with the other model.

    Only ``plain`` suits a model without CSC layers or without a lambda fit.

    Raises:
        PolicyError: A protocol needs a lambda or a fit that is not there, or there is another model to craft on, but
            the request has no transfer.
    """
    suited = BASIC if model.per_image else (Protocol.PLAIN,)
    protocols = request.protocols or (suited if surrogate is None else (*suited, Protocol.TRANSFER))
    for protocol in protocols:
        check_protocol(model, protocol)
    if surrogate is not None and Protocol.TRANSFER not in protocols:
        raise PolicyError("--from belongs to the protocol transfer: name it with --protocols.")
    if request.smallest and not request.protocols:
        protocols = tuple(each for each in protocols if each.white_box)
    return replace(request, protocols=protocols, surrogate=surrogate)


def check_save(request: AttackRequest, save: Path | None) -> None:
    """Raises an error if the adversarial images of several attacks are to be kept, or the file cannot be made."""
    if save is None:
        return
    if request.smallest:
        raise PolicyError("--min-epsilon keeps no images: leave --save out.")
    if not len(request.steps) == len(request.threats) == 1:
        raise PolicyError("--save keeps the images of one attack at one budget: name one of each.")
    if len(request.protocols) != 1:
        raise PolicyError("--save keeps the images of one protocol: name it with --protocols.")
    if save.exists():
        from robustcsc.evaluation.attacks.saved import load_adversarial  # the rest needs no torch

        try:
            load_adversarial(save)  # perhaps of this very command, which was interrupted
        except RobustCSCError as error:
            raise StoreError(f"{save} exists already: move it away or name another file.") from error
    check_writable(save, "--save", folder=False)
