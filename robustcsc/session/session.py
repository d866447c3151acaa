"""A model that is about to be measured: everything that the command line does, for a notebook."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from robustcsc.adaptive.fit import fit_lambda as fit_lines
from robustcsc.corruptions import Spec, load_spec, select
from robustcsc.corruptions.manifest import load_corrupted
from robustcsc.corruptions.specs import default_spec_name
from robustcsc.corruptions.trial import chosen_corruptions
from robustcsc.data import ImageSet
from robustcsc.data.splits import evenly_spaced
from robustcsc.errors import DataError, PolicyError, UnknownNameError
from robustcsc.evaluation.attacks.plans import AttackRequest, attack_plan, check_save, completed, suite_plan
from robustcsc.evaluation.attacks.saved import load_adversarial, save_adversarial
from robustcsc.evaluation.attacks.suites import SUITES
from robustcsc.evaluation.fooling.plans import noise_plan, uap_plan
from robustcsc.evaluation.fooling.universal import check_noise, check_split, check_uap
from robustcsc.evaluation.measure import Evaluator
from robustcsc.evaluation.models import LoadedModel
from robustcsc.evaluation.plan import Chain, check_protocol
from robustcsc.evaluation.sources import Inputs, corruptions_of
from robustcsc.measurements.attacks import AttackStep
from robustcsc.measurements.facts import replace
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.noises import NOISE_KERNELS
from robustcsc.measurements.perturbations import Crafting, Surrogate
from robustcsc.measurements.protocols import Protocol
from robustcsc.measurements.store import ResultStore
from robustcsc.measurements.threats import DEFAULT_EPSILON, NORMS, Norm, ThreatModel
from robustcsc.models import checkpoint
from robustcsc.models.checkpoint import Checkpoint
from robustcsc.runs import Run
from robustcsc.session.choices import DataChoice, ModelChoice, check_suits, note_unreadable, written
from robustcsc.session.measuring import AnyPolicy, Measuring, Results, Setup, chosen_policies
from robustcsc.training.run import heldout_images


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
        return LoadedModel.of(self.run, self.trained, self.device)

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
        return self.data.load(self.trained, split, limit)

    def evaluate(self, images: ImageSet | None = None, *, policies: Sequence[AnyPolicy] = ()) -> Results:
        """Measures the accuracy on uncorrupted images.

        Args:
            images: Test images; those of the run if ``None``.
            policies: How lambda is chosen; by default the training lambda, and the adaptive one if the run has a fit.

        Raises:
            RobustCSCError: The images do not suit the model, or a policy needs what is not there.
        """
        setup = self._setup(images, policies)
        return self._run(setup, [setup.planner.clean(setup.policies)])

    # Each parameter is a choice of its own that a user makes by name.
    def sweep(
        self,
        images: ImageSet | None = None,
        *,
        corruptions: str | None = None,
        severities: Sequence[int] = (1, 2, 3, 4, 5),
        policies: Sequence[AnyPolicy] = (),
        spec: Spec | None = None,
        corrupted_root: Path | None = None,
        quantize: bool = False,
        seed: int = 0,
    ) -> Results:
        """Measures the accuracy on clean images and under corruptions.

        Args:
            images: Test images; those of the run if ``None``.
            corruptions: ``"all"``, ``"standard"``, a group, or names with commas between them; all that can be applied
                to the images if ``None``.
            severities: 1 to 5.
            policies: As for `evaluate`.
            spec: Severity table; the one for the image size if ``None``.
            corrupted_root: Folder of published or exported files to read instead of corrupting.
            quantize: Whether corrupted images are truncated to 8 bits, as published files are.
            seed: Seed of the corruptions.

        Raises:
            RobustCSCError: A corruption is unknown or cannot be applied, files are missing, or as for `evaluate`.
        """
        setup = self._setup(images, policies)
        spec = spec or self.severity_table()
        if corrupted_root is None:
            names = chosen_corruptions(
                setup.images, spec, corruptions, severities, device=self.device, note=self.measuring.note
            )
        else:
            names = select(spec, corruptions or "all")
            for name in names:  # a missing file is told now and not after hours
                load_corrupted(corrupted_root, name, severities[0], setup.images)
        located = {"table": spec.path, "frost_root": spec.frost_root, "files": corrupted_root}
        setup = setup.reading(located, spec=spec, corrupted_root=corrupted_root)
        made = corruptions_of(setup.inputs, names, severities, seed=seed, quantize=quantize)

        def plan() -> Iterator[Chain]:
            yield setup.planner.clean(setup.policies)
            yield from setup.planner.sweep(made, setup.policies)

        return self._run(setup, plan())

    def attack(
        self,
        images: ImageSet | None = None,
        request: AttackRequest | None = None,
        *,
        norm: Norm = "linf",
        epsilon: float | None = None,
        surrogate: Session | str | None = None,
        save: Path | None = None,
    ) -> Results:
        """Measures the accuracy on clean images and under attack.

        Args:
            images: Test images; those of the run if ``None``.
            request: Attacks, budgets and protocols; PGD within `norm` and `epsilon` if ``None``, under every protocol
                that suits the model.
            norm: ``"linf"`` or ``"l2"``.
            epsilon: Budget in pixel units of [0, 1]; 8/255 or 0.5 if ``None``.
            surrogate: The model, run or shipped model that transfer attacks are crafted on.
            save: File to keep the adversarial images in, of one attack on one target.

        Raises:
            RobustCSCError: An attack or protocol does not suit the model, or as for `evaluate`.
        """
        other, facts = self._surrogate(surrogate), self.model.facts
        if request is None:
            threat = ThreatModel(norm, DEFAULT_EPSILON[norm] if epsilon is None else epsilon)
            request = AttackRequest(steps=(AttackStep.of("pgd"),), threats=(threat,))
        if not request.protocols and facts.has_lambda and not facts.fits:
            self.measuring.note(
                "Only the training lambda is attacked: for the adaptive one, first run "
                f"`robustcsc fit-lambda --run {self.run.name}`."
            )
        # Mistakes are told before the images are read.
        request = completed(request, facts, other.surrogate if other else None)
        check_save(request, save)
        setup = self._setup(images, (), other)
        plan = attack_plan(setup.planner, request)
        evaluator = setup.evaluator
        if save is not None:
            if len(plan) != 1:
                raise PolicyError("--save keeps the images of one lambda, but the protocol fixed has several.")
            ResultStore(self.run.store_path, read_only=True).close()  # a damaged one is told before hours of crafting
            measurement = plan[0][0].measurements[0]
            batches = evaluator.crafted(measurement).stream(self.device, self.measuring.progress)
            save_adversarial(save, batches, measurement, len(setup.images.classes))
        return self._run(setup, [setup.planner.clean([facts.own_policy]), *plan], evaluator)

    def suite(
        self,
        name: str,
        images: ImageSet | None = None,
        *,
        norms: Sequence[Norm] = NORMS,
        surrogate: Session | str | None = None,
        seed: int = 0,
    ) -> Results:
        """Measures everything of a suite of attacks that suits the model, and the accuracy on clean images.

        Args:
            name: A key of `robustcsc.evaluation.attacks.suites.SUITES`.
            images: Test images; those of the run if ``None``.
            norms: Norms of the suite to measure.
            surrogate: The model, run or shipped model that transfer attacks are crafted on; without one there is no
                transfer.
            seed: Seed of everything random.

        Raises:
            RobustCSCError: There is no such suite, or as for `attack`.
        """
        if name not in SUITES:
            raise UnknownNameError("suite", name, SUITES)
        other = self._surrogate(surrogate)
        setup = self._setup(images, (), other)
        source, note = other.surrogate if other else None, self.measuring.note
        plan = suite_plan(setup.planner, SUITES[name], norms, surrogate=source, seed=seed, note=note)
        return self._run(setup, [setup.planner.clean([setup.planner.model.own_policy]), *plan])

    def score(self, path: Path, *, policies: Sequence[AnyPolicy] = ()) -> Results:
        """Measures the accuracy on adversarial images that `attack` saved, from this model or another one.

        Raises:
            RobustCSCError: There is no such file, or its images do not suit the model.
        """
        saved = load_adversarial(path)
        spec, shape = self.trained.spec, tuple(saved.batch.images.shape[1:])
        if (shape, saved.num_classes) != (spec.image_shape, spec.num_classes):
            raise DataError(f"{path} holds images that {spec.name} was not made for: choose another model.")
        setup = self._setup(None, policies)
        size = saved.measurement.batch_size or self.measuring.batch_size
        planner = dataclasses.replace(setup.planner, images=saved.measurement.images, batch_size=size)
        cell = planner.cell(saved.attack, setup.policies, batched=True)
        setup = setup.reading({"files": path}, saved=saved)
        return self._run(setup, [(cell,)])

    def uap(
        self,
        images: ImageSet | None = None,
        *,
        threats: Sequence[ThreatModel],
        crafting: Crafting | None,
        crafting_images: ImageSet | None = None,
        protocols: Sequence[Protocol] = (Protocol.PLAIN,),
        control_seeds: Sequence[int] = (0, 1, 2),
    ) -> Results:
        """Measures how many predictions a universal perturbation changes, and random ones of the same norm.

        Args:
            images: Images to score on; the test images of the run if ``None``.
            threats: Norms and radii xi in pixel units of [0, 1].
            crafting: How it is crafted; `Crafting.images` and `Crafting.count` are filled in here. ``None`` for the
                random ones only.
            crafting_images: Images of the training split to craft on; ``crafting.count`` of the run's if ``None``.
            protocols: How crafting meets lambda: plain, static or adaptive.
            control_seeds: Seeds of the random perturbations, one of each kind per seed.

        Raises:
            RobustCSCError: Settings make no sense, or as for `attack`.
        """
        check_uap(threats, crafting)
        for protocol in protocols:
            check_protocol(self.model.facts, protocol)
        setup = self._setup(images, ())
        if crafting is not None:
            seen = crafting_images or self.images("train", crafting.count)
            check_split(seen)
            crafting = replace(crafting, images=seen.fingerprint, count=len(seen))
            setup = setup.reading({}, crafting_images=seen, perturbations=self.run.folder / "perturbations")
        return self._run(setup, uap_plan(setup.planner, crafting, threats, protocols, control_seeds))

    def random_noise(
        self,
        images: ImageSet | None = None,
        *,
        rhos: Sequence[float] = (0.01, 0.02, 0.05, 0.1, 0.2),
        policies: Sequence[AnyPolicy] = (),
        seeds: Sequence[int] = (0, 1, 2),
    ) -> Results:
        """Measures how many predictions Gaussian noise of a given energy changes.

        Args:
            images: Images; the test images of the run if ``None``.
            rhos: Energies ``E ||v||^2 / ||x||^2`` of the noise, at least 0.
            policies: As for `evaluate`, without the oracle.
            seeds: Seeds of the noise.

        Raises:
            RobustCSCError: An energy is negative, or as for `evaluate`.
        """
        check_noise(rhos, chosen_policies(self.model, policies)[1])
        setup = self._setup(images, policies)
        return self._run(setup, noise_plan(setup.planner, rhos, setup.policies, seeds))

    def fit_lambda(self, noise: str = "gaussian", images: ImageSet | None = None) -> LambdaFit:
        """Returns the line from the residual to the best lambda for one noise family, and keeps it in the run.

        Args:
            noise: ``"gaussian"``, ``"shot"``, ``"speckle"``, ``"impulse"`` or ``"pooled"`` (all four together).
            images: The whole training split; that of the run if ``None``.

        Raises:
            RobustCSCError: As for `fit_lambdas`.
        """
        return self.fit_lambdas([noise], images)[noise]

    def fit_lambdas(
        self,
        noises: Sequence[str] = (*NOISE_KERNELS, "pooled"),
        images: ImageSet | None = None,
        *,
        grid: Sequence[float] | None = None,
        limit: int = 5000,
        spec: Spec | None = None,
        seed: int = 0,
    ) -> dict[str, LambdaFit]:
        """Returns the lines from the residual to the best lambda, and keeps them in the run.

        Args:
            noises: Noise families, as for `fit_lambda`.
            images: The whole training split; that of the run if ``None``.
            grid: Lambdas to try; 1 to 15 times the training lambda, as in the paper, if ``None``.
            limit: Number of held-out images to use at most.
            spec: Severity table that the noise levels bracket; the one for the image size if ``None``.
            seed: Seed of the noise, and of the choice of images if there are more than `limit`.

        Raises:
            RobustCSCError: The model has no lambda, a noise is unknown, or the images are not training images.
        """
        images = self.images("train") if images is None else images
        heldout, known = heldout_images(images, self.trained)
        if limit < len(heldout):
            order = torch.randperm(len(heldout), generator=torch.Generator().manual_seed(seed))
            heldout = heldout.subset(order[:limit].sort().values)
        fits = fit_lines(
            self.model.model,
            heldout,
            model_name=self.trained.spec.name,
            weights=self.trained.weights,
            noises=noises,
            spec=spec or self.severity_table(),
            trained_on_images=known,
            grid=grid,
            seed=seed,
            batch_size=self.measuring.batch_size,
            device=self.device,
            progress=self.measuring.progress,
        )
        note_unreadable(images, self.measuring.note)
        self.keep()
        with written(self.run) as run:
            for name, fitted in fits.items():
                fitted.save(run.fit_path(name))
        return fits

    def opened(self, name: str) -> Session:
        """Returns the session of another run or shipped model, on the same device and data.

        Raises:
            RobustCSCError: There is no such run, or its weights cannot be loaded.
        """
        run, trained = ModelChoice(run=name).open(self.data, self.measuring.note)
        return dataclasses.replace(self, run=run, trained=trained)

    def keep(self) -> None:
        """Gives a new run its folder and weights."""
        if not self.run.weights_path.is_file():
            with written(self.run):
                spec, model = self.trained.spec, self.trained.model
                checkpoint.save(self.run.weights_path, spec, model, self.trained.training)

    @contextmanager
    def store(self) -> Iterator[ResultStore]:
        """Opens the results of the run, which is kept from now on."""
        self.keep()
        with ResultStore(self.run.store_path) as store:
            yield store

    @property
    def surrogate(self) -> Surrogate:
        """The model as records of transfer attacks name it."""
        return Surrogate(model=self.trained.spec.name, weights=self.trained.weights)

    def _surrogate(self, of: Session | str | None) -> Session | None:
        """Returns the session of the model that transfer attacks are crafted on.

        Raises:
            PolicyError: It is made for other images.
        """
        if of is None:
            return None
        other = self.opened(of) if isinstance(of, str) else of
        theirs, own = other.trained.spec, self.trained.spec
        if (theirs.image_shape, theirs.num_classes) != (own.image_shape, own.num_classes):
            raise PolicyError(
                f"--from {other.run.name}: {theirs.name} was made for other images than {own.name}, choose another run."
            )
        return other

    def _setup(self, images: ImageSet | None, policies: Sequence[AnyPolicy], surrogate: Session | None = None) -> Setup:
        model, chosen = chosen_policies(self.model, policies)  # a mistake is told before the images are read
        images = self.images() if images is None else images
        check_suits(images, self.trained.spec)
        inputs = Inputs(images=images, location=images.location)
        setup = Setup(model=model, inputs=inputs, policies=chosen, measuring=self.measuring)
        if surrogate is None:
            return setup
        return setup.reading({"source_run": surrogate.run.name}, surrogate=surrogate.model)

    def _run(self, setup: Setup, plan: Iterable[Chain], evaluator: Evaluator | None = None) -> Results:
        with self.store() as store:
            return setup.run(plan, store, evaluator)
