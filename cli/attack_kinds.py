"""What attacks on predictions read from their options, check and measure. Heavy imports stay inside the functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from robustcsc.cli import options
from robustcsc.cli.console import note
from robustcsc.cli.context import DataChoice, Session
from robustcsc.progress import Progress

if TYPE_CHECKING:
    from robustcsc.measurements.threats import Norm
    from robustcsc.data import ImageSet
    from robustcsc.records import Record
    from robustcsc.measurements.store import ResultStore

_BATCH_SIZE, _CRAFTING_IMAGES, _RHOS = 250, 1000, "0.01,0.02,0.05,0.1,0.2"


@dataclass(frozen=True, kw_only=True)
class Common:
    """What every kind of attack is told."""

    session: Session
    images: ImageSet
    batch_size: int | None
    seed: int
    seeds: int
    remeasure: bool

    @property
    def all_seeds(self) -> range:
        """The seeds of random perturbations."""
        return range(self.seed, self.seed + self.seeds)


class Attack(Protocol):
    """An attack whose own options have been read; making one needs no model."""

    def prepare(self, session: Session, data: DataChoice) -> None:
        """Refuses what does not suit the model or the data, before anything is measured or written."""

    def measure(self, common: Common, store: ResultStore, progress: Progress) -> Iterator[Record]:
        """Yields the records."""


class Uap:
    """Universal perturbations and their random controls."""

    def __init__(
        self,
        norm: Norm,
        xi: str | None,
        delta: float | None,
        passes: int | None,
        crafting_images: int | None,
        protocols: str,
    ) -> None:
        from robustcsc.attacks import universal
        from robustcsc.measurements.threats import ThreatModel, parse_epsilon

        sizes = (universal.DEFAULT_XI[norm],) if xi is None else tuple(map(parse_epsilon, some("--xi", xi)))
        self._threats = tuple(ThreatModel(norm, size) for size in sizes)
        self._delta = universal.DEFAULT_DELTA if delta is None else delta
        self._passes = passes or universal.DEFAULT_PASSES
        for threat in self._threats:
            universal.check_crafting(threat, self._delta, self._passes, 1)
        self._count = crafting_images or _CRAFTING_IMAGES
        self._protocols = some("--protocols", protocols)
        self._images: ImageSet  # from `prepare`

    def prepare(self, session: Session, data: DataChoice) -> None:
        """Checks the protocols and opens the training split."""
        from robustcsc.evaluation.fooling import uap_target

        for protocol in self._protocols:
            uap_target(session.subject, protocol)
        self._images = data.load(session.trained, "train", self._count)

    def measure(self, common: Common, store: ResultStore, progress: Progress) -> Iterator[Record]:
        """Yields the fooling counts of each perturbation and of its controls; perturbations are kept in the run."""
        from robustcsc.attacks.universal import DEFAULT_BATCH_SIZE
        from robustcsc.evaluation.fooling import Crafting, attack_uap

        batch_size = common.batch_size or DEFAULT_BATCH_SIZE
        crafting = Crafting(
            images=self._images, delta=self._delta, passes=self._passes, batch_size=batch_size, seed=common.seed
        )
        folder = common.session.run.folder / "perturbations"
        yield from attack_uap(
            common.session.subject,
            common.images,
            store,
            threats=self._threats,
            crafting=crafting,
            folder=folder,
            protocols=self._protocols,
            control_seeds=common.all_seeds,
            # One by one is an order of crafting; scoring has none.
            batch_size=batch_size if common.batch_size not in (None, 1) else _BATCH_SIZE,
            remeasure=common.remeasure,
            progress=progress,
        )
        note(f"The perturbations, as safetensors and PNG: {folder}")


class Noise:
    """Random noise of a given energy."""

    def __init__(self, rho: str | None, policies: str) -> None:
        from robustcsc.evaluation.fooling import check_noise

        self._rhos = options.numbers(_RHOS if rho is None else rho)
        if not self._rhos:
            raise options.OptionError("--rho names no energy: write 0.01,0.05, for example.")
        self._policies = options.words(policies)
        check_noise(self._rhos, self._policies)

    def prepare(self, session: Session, data: DataChoice) -> None:
        """Chooses and checks the lambda policies."""
        self._policies = session.subject.policies(self._policies)

    def measure(self, common: Common, store: ResultStore, progress: Progress) -> Iterator[Record]:
        """Yields the fooling counts of each energy and seed."""
        from robustcsc.evaluation.fooling import attack_random_noise

        yield from attack_random_noise(
            common.session.subject,
            common.images,
            store,
            rhos=self._rhos,
            policies=self._policies,
            seeds=common.all_seeds,
            batch_size=common.batch_size or _BATCH_SIZE,
            remeasure=common.remeasure,
            progress=progress,
        )


def chosen_attack(named: Mapping[str, bool]) -> str:
    """Returns the option that names the attack, ``--pgd`` if none was given.

    Args:
        named: Whether each of the options that name an attack was given.

    Raises:
        OptionError: Several were given.
    """
    given = [name for name, present in named.items() if present]
    if len(given) > 1:
        raise options.OptionError(f"{' and '.join(given)} are different attacks: run one after the other.")
    return given[0] if given else "--pgd"


def some(name: str, text: str) -> tuple[str, ...]:
    """Returns the words of a list with commas.

    Raises:
        OptionError: There are none.
    """
    words: tuple[str, ...] = options.words(text)
    if not words:
        raise options.OptionError(f"{name} is empty: write a value, or leave it out.")
    return words
