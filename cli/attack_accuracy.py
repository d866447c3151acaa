"""What attacks on the accuracy read from their options, check and measure. Heavy imports stay inside the functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from robustcsc.cli import options
from robustcsc.cli.attack_kinds import Common, some
from robustcsc.cli.console import note
from robustcsc.cli.context import DataChoice, ModelChoice, Session
from robustcsc.errors import AttackError, PolicyError
from robustcsc.progress import Progress

if TYPE_CHECKING:
    from robustcsc.attacks.catalog import Chosen
    from robustcsc.measurements.threats import Norm, ThreatModel
    from robustcsc.evaluation.crafting import Bench
    from robustcsc.evaluation.subject import Subject
    from robustcsc.records import Record
    from robustcsc.measurements.store import ResultStore

BATCH_SIZE = 250
NORMS: tuple[Norm, ...] = ("linf", "l2")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of attacks, as typed; ``None`` is the default of each attack."""

    steps: int | None = None
    step_size: str | None = None
    queries: int | None = None
    loss: str | None = None
    restarts: int | None = None

    def apply(self, names: Sequence[str]) -> list[Chosen]:
        """Returns the attacks; a setting goes to those that have it.

        Raises:
            UnknownNameError: An attack is unknown.
            AttackError: No attack has a setting that was given, or its value makes no sense.
        """
        from robustcsc.attacks.catalog import ATTACKS, Chosen

        values = {"steps": self.steps, "step_size": _step_size(self.step_size), "queries": self.queries}
        given = {name: value for name, value in {**values, "loss": self.loss}.items() if value is not None}
        kinds = [Chosen(name).kind for name in names]
        for setting in given:
            if not any(setting in kind.settings for kind in kinds):
                typed = setting.replace("_", "-")
                having = ", ".join(name for name, kind in ATTACKS.items() if setting in kind.settings)
                raise AttackError(f"--{typed} is a setting of {having} and not of {', '.join(names)}: leave it out.")
        if self.restarts is not None and self.restarts > 1 and not any(kind.random for kind in kinds):
            raise AttackError(f"Restarts of {', '.join(names)} would all be the same: leave --restarts out.")
        return [
            Chosen(
                name,
                {setting: value for setting, value in given.items() if setting in kind.settings},
                (self.restarts or 1) if kind.random else 1,
            )
            for name, kind in zip(names, kinds, strict=True)
        ]


class Named:
    """Attacks by name, at one budget or several."""

    def __init__(
        self,
        names: str,
        norm: Norm,
        epsilon: str | None,
        settings: Settings,
        protocols: str,
        source: str | None,
        save: Path | None,
        smallest: bool,
    ) -> None:
        from robustcsc.measurements.threats import DEFAULT_EPSILON, ThreatModel, parse_epsilon

        self._attacks = settings.apply(some("--attack", names))
        sizes = [DEFAULT_EPSILON[norm]] if epsilon is None else [*map(parse_epsilon, some("--epsilon", epsilon))]
        self._threats = [ThreatModel(norm, size) for size in sizes]
        for attack in self._attacks:
            attack.check_norm(norm)
        self._protocols, self._from = options.words(protocols), source
        self._save, self._smallest = save, smallest
        self._source: Subject | None = None
        if save is not None and (len(self._attacks), len(self._threats)) != (1, 1):
            raise options.OptionError("--save keeps the images of one attack at one budget: name one of each.")
        if save is not None and save.exists():
            raise options.OptionError(f"{save} exists already: move it away or name another file.")
        if smallest and (len(self._threats) != 1 or sizes[0] == 0):
            raise options.OptionError("--min-epsilon searches up to one budget: write one --epsilon above 0.")
        if smallest and save is not None:
            raise options.OptionError("--min-epsilon keeps no images: leave --save out.")
        if smallest and settings.step_size is not None:
            raise options.OptionError("--min-epsilon chooses the step size by the budget: leave --step-size out.")

    def prepare(self, session: Session, data: DataChoice) -> None:
        """Chooses and checks the protocols, and opens the model that transfer attacks are crafted on."""
        from robustcsc.evaluation.protocols import check_protocol, default_protocols

        subject: Subject = session.subject
        self._source = open_source(self._from, session, data)
        for protocol in self._protocols:
            check_protocol(subject, protocol, self._source)
        if not self._protocols and subject.has_lambda and not subject.fits:
            note(
                "Only the training lambda is attacked: for the adaptive one, first run "
                f"`robustcsc fit-lambda --run {subject.run}`."
            )
        more = ("transfer",) if self._source is not None else ()
        named = bool(self._protocols)
        self._protocols = self._protocols or (*default_protocols(subject), *more)
        if self._source is not None and "transfer" not in self._protocols:
            raise options.OptionError("--from belongs to the protocol transfer: name it with --protocols.")
        if self._save is not None and len(self._protocols) != 1:
            raise options.OptionError("--save keeps the images of one protocol: name it with --protocols.")
        if self._smallest:
            suiting = tuple(each for each in self._protocols if each in ("plain", "fixed", "adaptive"))
            if not suiting or (named and suiting != self._protocols):
                raise PolicyError("--min-epsilon goes with the protocols plain, fixed and adaptive: name some of them.")
            self._protocols = suiting

    def measure(self, common: Common, store: ResultStore, progress: Progress) -> Iterator[Record]:
        """Yields the accuracy on clean images, and under each attack for every protocol and budget."""
        from robustcsc.evaluation.adversarial import attack_images
        from robustcsc.evaluation.minimal import minimal_epsilon
        from robustcsc.evaluation.protocols import targets

        bench = bench_of(common, store, progress)
        yield from clean_records(bench)
        for threat in self._threats:
            if self._smallest:
                for protocol in self._protocols:
                    for target in targets(bench.subject, protocol):
                        for attack in self._attacks:
                            yield minimal_epsilon(bench, target, attack, threat)
            elif self._save is not None:
                yield from self._saved(bench, threat, self._save)
            else:
                yield from attack_images(bench, self._attacks, threat, protocols=self._protocols, source=self._source)

    def _saved(self, bench: Bench, threat: ThreatModel, path: Path) -> Iterator[Record]:
        from robustcsc.evaluation.adversarial import attack_target
        from robustcsc.evaluation.crafting import Workshop
        from robustcsc.evaluation.protocols import targets
        from robustcsc.evaluation.saved import save_adversarial

        found = targets(bench.subject, self._protocols[0], source=self._source)
        if len(found) > 1:
            raise options.OptionError("--save keeps the images of one lambda, but the protocol fixed has several.")
        workshop = Workshop(bench, threat)
        save_adversarial(workshop, found[0], self._attacks[0], path)
        note(f"The adversarial images: {path}")
        yield from attack_target(workshop, found[0], self._attacks)


class OfSuite:
    """A suite of attacks."""

    def __init__(self, name: str, norm: Norm | None, source: str | None) -> None:
        from robustcsc.errors import UnknownNameError
        from robustcsc.evaluation.suites import SUITES

        if name not in SUITES:
            raise UnknownNameError("suite", name, SUITES)
        self._suite, self._norms, self._from = SUITES[name], NORMS if norm is None else (norm,), source
        self._source: Subject | None = None

    def prepare(self, session: Session, data: DataChoice) -> None:
        """Opens the model that transfer attacks are crafted on, and says what is left out."""
        from robustcsc.evaluation.suites import sensible

        self._source = open_source(self._from, session, data)
        kept, left_out = sensible(self._suite, session.subject, self._source)
        if self._source is not None and "transfer" not in kept:
            raise options.OptionError("This suite has no transfer attacks: leave --from out.")
        if left_out:
            how = {"transfer": "--from RUN", "static": "a lambda fit", "adaptive": "a lambda fit"}
            needs = [f"{protocol} (needs {how[protocol]})" for protocol in left_out if protocol in how]
            note(f"Left out: {', '.join(needs)}.")

    def measure(self, common: Common, store: ResultStore, progress: Progress) -> Iterator[Record]:
        """Yields the accuracy on clean images, and everything of the suite."""
        from robustcsc.evaluation.suites import run_suite

        bench = bench_of(common, store, progress)
        yield from clean_records(bench)
        yield from run_suite(bench, self._suite, norms=self._norms, source=self._source)


class Score:
    """Adversarial images of an earlier `--save`."""

    def __init__(self, path: Path, policies: str) -> None:
        from robustcsc.evaluation.saved import load_adversarial

        self._path, self._policies = path, options.words(policies)
        load_adversarial(path)

    def prepare(self, session: Session, data: DataChoice) -> None:
        """Chooses and checks the lambda policies, and that the images suit the model."""
        from robustcsc.errors import DataError
        from robustcsc.evaluation.saved import load_adversarial

        batch, _, classes = load_adversarial(self._path)
        spec = session.trained.spec
        if (tuple(batch.images.shape[1:]), classes) != (spec.image_shape, spec.num_classes):
            raise DataError(f"{self._path} holds images that {spec.name} was not made for: choose another model.")
        self._policies = session.subject.policies(self._policies)

    def measure(self, common: Common, store: ResultStore, progress: Progress) -> Iterator[Record]:
        """Yields the accuracy on the saved images."""
        from robustcsc.evaluation.saved import score_adversarial

        yield from score_adversarial(
            common.session.subject,
            self._path,
            store,
            policies=self._policies,
            batch_size=common.batch_size or BATCH_SIZE,
            remeasure=common.remeasure,
        )


def bench_of(common: Common, store: ResultStore, progress: Progress) -> Bench:
    """Returns what all attacks of the command share."""
    from robustcsc.evaluation.crafting import Bench

    return Bench(
        subject=common.session.subject,
        images=common.images,
        store=store,
        seed=common.seed,
        batch_size=common.batch_size or BATCH_SIZE,
        remeasure=common.remeasure,
        progress=progress,
    )


def clean_records(bench: Bench) -> list[Record]:
    """Measures the accuracy on clean images at the training lambda."""
    from robustcsc.evaluation.sweep import evaluate_clean

    subject = bench.subject
    return evaluate_clean(
        subject,
        bench.images,
        bench.store,
        policies=subject.policies(("train",)),
        batch_size=bench.batch_size,
        remeasure=bench.remeasure,
        progress=bench.progress,
    )


def open_source(name: str | None, session: Session, data: DataChoice) -> Subject | None:
    """Returns the model that transfer attacks are crafted on; ``None`` if none was named.

    Raises:
        RobustCSCError: There is no such run, its weights are those of the attacked model, or it is made for other
            images.
    """
    if name is None:
        return None
    from robustcsc.evaluation.protocols import check_protocol
    from robustcsc.evaluation.subject import Subject

    run, trained = ModelChoice(run=name).open(data)
    other, own = trained.spec, session.trained.spec
    if (other.image_shape, other.num_classes) != (own.image_shape, own.num_classes):
        raise PolicyError(f"--from {name}: {other.name} was made for other images than {own.name}, choose another run.")
    source: Subject = Subject.of(run, trained, session.subject.device)
    check_protocol(session.subject, "transfer", source)
    return source


def _step_size(text: str | None) -> float | None:
    from robustcsc.measurements.threats import parse_epsilon

    size = None if text is None else parse_epsilon(text)
    if size == 0:
        raise AttackError("A step size of 0 moves no image: leave --step-size out or write a number such as 2/255.")
    return size
