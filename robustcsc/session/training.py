"""Training a model from fresh weights into a run of its own."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace

import torch

from robustcsc import runs
from robustcsc.data import ImageSet
from robustcsc.errors import CheckpointError
from robustcsc.models.catalog import ModelSpec, default_spec
from robustcsc.models.checkpoint import Checkpoint
from robustcsc.models.known import images_for
from robustcsc.progress import quiet, silent
from robustcsc.runs import Run
from robustcsc.session.choices import DataChoice, DeviceName, choose_device, note_unreadable, written
from robustcsc.session.measuring import Measuring
from robustcsc.session.models import allow_own_code
from robustcsc.session.session import Session
from robustcsc.training.adversarial import AdversarialTraining
from robustcsc.training.log import quiet_fabric, tensorboard_log
from robustcsc.training.loop import Epoch
from robustcsc.training.processes import Processes, together
from robustcsc.training.recipes import Recipe, adapted_recipe, default_recipe
from robustcsc.training.request import TrainingRequest, check_unfinished
from robustcsc.training.run import Hardware, Precision, train_run


def train(
    request: TrainingRequest,
    data: DataChoice | None = None,
    *,
    device: DeviceName = "auto",
    resume: bool = False,
    tensorboard: bool = False,
    measuring: Measuring | None = None,
) -> Session:
    """Trains a model from fresh weights into a run of its own, and returns its session.

    Args:
        request: What is trained, and how.
        data: The images; if ``None`` the embedded ones that the model is made for, as `images_for` knows them.
        device: Where to train; ``"auto"`` takes a GPU if there is one.
        resume: Whether to go on from the state of an interrupted training.
        tensorboard: Whether to log to the folder ``tensorboard`` of the run.
        measuring: How the session measures; its notes get a line for each epoch.

    Several processes (`TrainingRequest.devices`) are started by running the whole script in each, or by torchrun; only
    the first one writes and notes.

    Raises:
        RobustCSCError: The run has weights already, or model, images and settings do not suit each other.

    Examples:
        >>> import robustcsc as rc
        >>> sdnet = rc.train(rc.TrainingRequest(model="sdnet-digits", run="short", epochs=1))
        >>> sdnet.run.name, sdnet.trained.training["recipe"]["epochs"]
        ('short', 1)
    """
    measuring = measuring or Measuring()
    quiet_fabric()
    fabric = _hardware(request, choose_device(device)).fabric()
    with together(fabric):
        if fabric.global_rank:
            measuring = replace(measuring, note=quiet, progress=silent)
        prepared = PreparedTraining.of(request, data or DataChoice(images_for(request.model)), device, measuring)
        return prepared.trained(resume=resume, tensorboard=tensorboard)


def _hardware(request: TrainingRequest, place: torch.device) -> Hardware:
    automatic: Precision = "bf16-mixed" if place.type == "cuda" else "32-true"
    return Hardware(
        device=place.type,
        processes=Processes.asked(request.devices),
        precision=automatic if request.precision == "auto" else request.precision,
        compile=request.compile,
    )


@dataclass(frozen=True, kw_only=True)
class PreparedTraining:
    """A training with all that it needs at hand; preparing it writes nothing.

    Attributes:
        run: The run it goes to.
        request: What is trained, and how.
        data: Where the images lie.
        images: The training split.
        spec: The model.
        recipe: The settings.
        device: Where it is trained, and the trained model measured.
        hardware: Device and precision of the training.
        measuring: How the session of the trained model measures.
    """

    run: Run
    request: TrainingRequest
    data: DataChoice
    images: ImageSet
    spec: ModelSpec
    recipe: Recipe
    device: torch.device
    hardware: Hardware
    measuring: Measuring

    @classmethod
    def of(
        cls,
        request: TrainingRequest,
        data: DataChoice,
        device: DeviceName,
        measuring: Measuring,
        images: ImageSet | None = None,
    ) -> PreparedTraining:
        """Returns the training with its images, which are read if ``None``, and with what the request leaves open.

        Raises:
            RobustCSCError: There is no such device, model or data set, or the images cannot be read.
        """
        place, name = choose_device(device), data.name or ""
        allow_own_code(request.model)
        images = data.load(None, "train", note=measuring.note) if images is None else images
        classes, shape = len(images.classes), images.image_shape
        recipe = request.recipe or default_recipe(request.model, name, place.type, request.train_images or len(images))
        return cls(
            run=Run(runs.RUNS / (request.run or re.sub(r"[^\w.-]+", "-", f"{request.model}-{images.name}"))),
            request=request,
            data=data,
            images=images,
            spec=default_spec(request.model, classes, shape, normalization=name, options=request.options),
            recipe=adapted_recipe(recipe, request.epochs, request.learning_rate),
            device=place,
            hardware=_hardware(request, place),
            measuring=measuring,
        )

    @property
    def passes(self) -> float:
        """About how many times the model will see an image; a step back costs two more."""
        seen = self.request.train_images or len(self.images) * (1 - self.request.heldout)
        size = self.recipe.batch_size
        return 3.0 * size * self.recipe.steps(max(1, int(seen) // size))

    @property
    def adversary(self) -> AdversarialTraining | None:
        """The attack on the training images."""
        asked = self.request
        if asked.adversarial == "none":
            return None
        return AdversarialTraining(asked.adversarial, *([] if asked.epsilon is None else [asked.epsilon]))

    def check_made(self, made: Checkpoint) -> None:
        """Refuses weights that another training made.

        Raises:
            CheckpointError: Model, images, recipe, seed or another setting differs.
        """
        asked, facts = self.request, made.training
        wanted = {
            "model": (self.spec, made.spec),
            "images": (self.images.fingerprint, facts.get("images")),
            "recipe": (json.loads(json.dumps(self.recipe.facts)), facts.get("recipe")),
            "heldout": (asked.heldout, facts.get("heldout", {}).get("fraction")),
            "train-images": (asked.train_images, (facts.get("subset") or {}).get("images")),
            "augment": (asked.augment, facts.get("augment")),
            "adversarial": (self.adversary and asdict(self.adversary), facts.get("adversarial")),
            "seed": (asked.seed, facts.get("seed")),
        }
        if differing := [name for name, (one, other) in wanted.items() if one != other]:
            raise CheckpointError(
                f"Run {self.run.name!r} was trained with another {' and another '.join(differing)}: choose another "
                f"name, or delete {self.run.folder} to train it again."
            )

    def trained(self, *, resume: bool = False, tensorboard: bool = False) -> Session:
        """Trains, and returns the session of the trained model. Arguments and errors are those of `train`."""
        quiet_fabric()
        first = self.hardware.fabric().global_rank == 0  # of several processes that train together, one writes
        if first:
            check_unfinished(self.run, resume=resume, note=self.measuring.note)
        asked, of_epochs = self.request, f"/{self.recipe.epochs}" * (self.recipe.epochs > 0)
        with ExitStack() as stack:
            run, log = self.run, None
            if first:
                stack.enter_context(written(run))
                stack.enter_context(run.making_weights())
                check_unfinished(run, resume=resume)  # another command may have finished in the meantime
                log = stack.enter_context(tensorboard_log(run.folder / "tensorboard")) if tensorboard else None

            def tell(epoch: Epoch) -> None:
                self.measuring.note(
                    f"epoch {epoch.number}{of_epochs}: loss {epoch.loss:.4f}, "
                    f"training accuracy {epoch.accuracy:.1%}, {epoch.seconds:.0f} s"
                )
                if log is not None:
                    log(epoch)

            try:
                made = train_run(
                    run,
                    self.spec,
                    self.images,
                    self.recipe,
                    data=self.data.name or "",
                    heldout_fraction=asked.heldout,
                    train_images=asked.train_images,
                    seed=asked.seed,
                    augment=asked.augment,
                    adversarial=self.adversary,
                    hardware=self.hardware,
                    resume=resume,
                    on_epoch=tell,
                    progress=self.measuring.progress,
                )
            except KeyboardInterrupt:
                if run.training_path.exists():
                    self.measuring.note(
                        "Training was interrupted: rerun the command with --resume to continue after the last epoch."
                    )
                raise
        note_unreadable(self.images.unreadable, self.measuring.note)
        return Session(
            run=run,
            trained=made,
            device=self.device,
            data=self.data,
            measuring=self.measuring,
        )
