"""A model that is about to be measured: everything that the command line does, for a notebook."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, product
from pathlib import Path

import torch

from robustcsc.corruptions import Spec, load_spec, select
from robustcsc.corruptions.manifest import exported_corruptions, load_corrupted
from robustcsc.corruptions.trial import chosen_corruptions
from robustcsc.data import ImageSet
from robustcsc.data.splits import evenly_spaced
from robustcsc.errors import PolicyError, StoreError
from robustcsc.evaluation import driver
from robustcsc.evaluation.doubts import looked_at
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.plan import Chain
from robustcsc.evaluation.planned import alone, planned
from robustcsc.evaluation.sources import Inputs, planned_corruptions
from robustcsc.evaluation.timing import ALONE, Team, timing
from robustcsc.locks import PATIENCE
from robustcsc.measurements.passes import Piece, Plan
from robustcsc.measurements.perturbations import Pixels, Surrogate
from robustcsc.measurements.records import Location
from robustcsc.measurements.severity_tables import default_spec_name
from robustcsc.measurements.store import ResultStore
from robustcsc.models import checkpoint
from robustcsc.models.checkpoint import Checkpoint
from robustcsc.models.guests import is_guest
from robustcsc.reports.summary.doubts import seen_words
from robustcsc.runs import Run
from robustcsc.session import attacking, fitting, fooling
from robustcsc.session.choices import DataChoice, note_slow, note_unreadable, written
from robustcsc.session.measuring import AnyPolicy, Measuring, Results, Setup, chosen_policies, note_other_pixels
from robustcsc.session.models import OTHER_WEIGHTS, BuildChoice, find_model
from robustcsc.session.suiting import another_order, suited


@dataclass(frozen=True, kw_only=True)
class Session:
    """A model and the run that its results go to.

    Opening a session writes nothing; a call that is refused leaves nothing behind.

    Attributes:
        run: The run.
        trained: The model with its weights and how they were made.
        device: Where it is evaluated.
        data: Where its images lie.
        measuring: How measuring is done.
        test_images: The test images, if they are not those of the run.

    Examples:
        >>> import robustcsc as rc
        >>> sdnet = rc.open("sdnet-digits")
        >>> (clean,) = sdnet.evaluate(sdnet.images(limit=50))
        >>> clean.met, sdnet.evaluate(sdnet.images(limit=50))[0] == clean  # read from the run, not measured again
        (48, True)
    """

    run: Run
    trained: Checkpoint
    device: torch.device
    data: DataChoice = field(default_factory=DataChoice)
    measuring: Measuring = field(default_factory=Measuring)
    test_images: ImageSet | None = None

    @property
    def model(self) -> LoadedModel:
        """The model on its device, with the lambda fits that the run has now."""
        model = LoadedModel.of(self.run, self.trained, self.device, self.measuring.precision)
        return dataclasses.replace(model, test_time=self.measuring.adaptations)

    def severity_table(self, name: str | None = None, frost_root: Path | None = None) -> Spec:
        """Returns the severity table of a name or file, or the one for the size of the model's images.

        Args:
            name: A table of the package, or a TOML file.
            frost_root: Folder with the original photographs of frost; those of the package if ``None``.

        Raises:
            RobustCSCError: There is no such table, it is not valid, or the photographs cannot be read.
        """
        return load_spec(name or default_spec_name(self.trained.spec.image_shape), frost_root)

    def images(self, split: str = "test", limit: int | None = None) -> ImageSet:
        """Returns the images of the run, or `limit` evenly spaced ones.

        Raises:
            DataError: It is not known which images the model is for, or they cannot be read.
        """
        if self.test_images is not None and split == "test":
            return self.test_images if limit is None else evenly_spaced(self.test_images, limit)
        return self.data.load(self.trained, split, limit, self.measuring.note, places=self.run.places)

    def evaluate(self, images: ImageSet | None = None, *, policies: Sequence[AnyPolicy] = ()) -> Results:
        """Measures the accuracy on uncorrupted images.

        Args:
            images: Test images; those of the run if ``None``.
            policies: How lambda is chosen; by default the training lambda, and the adaptive one if the run has a fit.

        Raises:
            RobustCSCError: The images do not suit the model, or a policy needs what is not there.
        """
        setup = self.setup(images, policies)
        return self.measured(setup, [setup.planner.clean(setup.policies)])

    # Each parameter is a choice of its own that a user makes by name.
    def sweep(
        self,
        images: ImageSet | None = None,
        *,
        corruptions: str | None = None,
        severities: Sequence[int] = (1, 2, 3, 4, 5),
        policies: Sequence[AnyPolicy] = (),
        spec: Spec | None = None,
        corrupted_root: str | Path | None = None,
        as_published: bool = True,
        seed: int = 0,
    ) -> Results:
        """Measures the accuracy on clean images and under corruptions.

        Args:
            images: Test images; those of the run if ``None``.
            corruptions: ``"all"``, ``"standard"``, a group, or names with commas between them; if ``None`` all that
                can be applied to the images, those of a folder that was exported, or all of the table for published
                files.
            severities: 1 to 5.
            policies: As for `evaluate`.
            spec: Severity table; the one for the image size if ``None``.
            corrupted_root: Folder of published or exported files to read instead of corrupting.
            as_published: Whether corrupted images are stored as the table says, in 8 bits, and for ImageNet-C as JPEG
                of quality 85; or else they stay floats.
            seed: Seed of the corruptions.

        Raises:
            RobustCSCError: A corruption is unknown or cannot be applied, files are missing, or as for `evaluate`.
        """
        setup = self.setup(images, policies)
        spec = spec or self.severity_table()
        corrupted_root = None if corrupted_root is None else Path(corrupted_root)
        if corrupted_root is None:
            names = chosen_corruptions(
                setup.images, spec, corruptions, severities, device=self.device, note=self.measuring.note
            )
        else:
            names = select(spec, corruptions or ",".join(exported_corruptions(corrupted_root)) or "all")
            for name, severity in product(names, severities):  # a missing file is told now and not after hours
                load_corrupted(corrupted_root, name, severity, setup.images)
        located = {"table": spec.path, "frost_root": spec.frost_root, "files": corrupted_root}
        setup = setup.reading(located, spec=spec, corrupted_root=corrupted_root)
        note_other_pixels(setup, spec.pixels if as_published else Pixels.FLOAT)
        made = planned_corruptions(setup.inputs, names, severities, seed=seed, as_published=as_published)

        plan = chain([setup.planner.clean(setup.policies)], setup.planner.sweep(made, setup.policies))
        # Files are read for their fingerprints when their turn comes.
        return self.measured(setup, plan, cells=1 + len(names) * len(severities) if corrupted_root else None)

    # Defined in files of their own.
    fit_lambda = fitting.fit_lambda
    fit_lambdas = fitting.fit_lambdas
    attack = attacking.attack
    suite = attacking.suite
    score = attacking.score
    uap = fooling.uap
    random_noise = fooling.random_noise

    def opened(self, name: str) -> Session:
        """Returns the session of another run or shipped model, on the same device and data.

        Raises:
            RobustCSCError: There is no such run, or its weights cannot be loaded.
        """
        run, trained = find_model(name, None, None, self.data, self.measuring.note, BuildChoice())
        return dataclasses.replace(self, run=run, trained=trained)

    @contextmanager
    def kept(self, images: ImageSet | None = None) -> Iterator[Run]:
        """Gives the run its folder, weights and the place of `images`; the block writes into it, as in `written`."""
        with written(self.run) as run:
            if not run.weights_path.is_file():
                with run.making_weights(patience=PATIENCE):
                    self._give_weights()
            run.remember(Location() if images is None else images.location)
            yield run

    def _give_weights(self) -> None:
        """Writes the weights into the run, unless another process was faster.

        Raises:
            StoreError: It wrote others.
        """
        path, trained = self.run.weights_path, self.trained
        if not path.is_file():
            checkpoint.save(path, trained.spec, trained.model, trained.training)
        elif checkpoint.saved_hash(path) != trained.weights:
            raise StoreError(OTHER_WEIGHTS.format(self.run.name))

    @property
    def surrogate(self) -> Surrogate:
        """The model as records of transfer attacks name it."""
        return Surrogate(model=self.trained.spec.name, weights=self.trained.weights)

    def other(self, of: Session | str | None) -> Session | None:
        """Returns the session of the model that transfer attacks are crafted on.

        Raises:
            PolicyError: It is made for other images, or another order of their classes.
        """
        if of is None:
            return None
        other = self.opened(of) if isinstance(of, str) else of
        theirs, own = other.trained.spec, self.trained.spec
        reordered = another_order(self.trained, other.trained)
        if (theirs.image_shape, theirs.num_classes) != (own.image_shape, own.num_classes) or reordered:
            its = "another order of classes" if reordered else "other images"
            raise PolicyError(
                f"--from {other.run.name}: {theirs.name} was made for {its} than {own.name}, choose another run."
            )
        return other

    def setup(self, images: ImageSet | None, policies: Sequence[AnyPolicy], surrogate: Session | None = None) -> Setup:
        """Returns all that a plan needs to be measured.

        Args:
            images: Clean images; the test images of the run if ``None``.
            policies: As for `evaluate`.
            surrogate: The model that transfer attacks are crafted on.

        Raises:
            RobustCSCError: The images do not suit the model, or a policy needs what is not there.
        """
        self.run.check_writable()  # mistakes are told before the images are read
        model, chosen = chosen_policies(self.model, policies)
        images = suited(self.images() if images is None else images, self.trained.spec)
        inputs = Inputs(images=images, location=images.location)
        if is_guest(self.trained.model):
            seen = looked_at(model, images)
            self.measuring.note(seen_words(model.subject.model, seen))
            model = dataclasses.replace(model, doubts=seen.doubts)
        note_slow(model.precision, self.device, self.measuring.note)
        model = fitting.with_reference(self, model, chosen)
        setup = Setup(model=model.answering(images), inputs=inputs, policies=chosen, measuring=self.measuring)
        if surrogate is None:
            return setup
        return setup.reading({"source_run": surrogate.run.name}, surrogate=surrogate.model.answering(images))

    def plan(self, pieces: Sequence[Piece], model: LoadedModel, inputs: Inputs, team: Team = ALONE) -> Plan:
        """Returns the plan of some pieces of work, with about how long they take if a team shares them."""
        return Plan(pieces=tuple(pieces), timing=timing(pieces, model, inputs, self.measuring.batch_size, team))

    def measured(self, setup: Setup, plan: Iterable[Chain], cells: int | None = None) -> Results:
        """Measures a plan, as `driver.run` does, and keeps its records; what the run has is not measured again.

        Raises:
            RobustCSCError: The model, the images or the files do not suit what is measured.
        """
        if self.measuring.dry_run:
            with ResultStore(self.run.store_path, read_only=True) as store:
                found = list(planned(plan, setup.evaluator, store))
            pieces = [it for each in found for it in each.pieces]
            return Results(
                (it for each in found for it in each.stored),
                (it for each in found for it in each.missing),
                self.plan(pieces, setup.model, setup.inputs, self.measuring.team(alone(found))),
            )
        with self.kept(setup.images) as run, ResultStore(run.store_path) as store, setup.engine() as engine:
            if reference := setup.model.reference:
                reference.save(run.folder)
            results = Results(driver.run(plan, setup.evaluator, store, cells, engine=engine))
        note_unreadable([*dict.fromkeys([*setup.images.unreadable, *setup.inputs.unreadable])], self.measuring.note)
        return results
