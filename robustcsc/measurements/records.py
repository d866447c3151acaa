"""What was measured: a `Measurement` says what, a `Record` adds the counts and how they came about."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta

from robustcsc.measurements.facts import Count, Fact, Positive, Share, Size, digest_of
from robustcsc.measurements.perturbations import Perturbation
from robustcsc.measurements.policies import Policy
from robustcsc.measurements.provenance import Provenance

#: How class folders with numbers in their names are ordered: 0, 1, 2, 10 or 0, 1, 10, 2.
ClassOrder = Literal["number", "text"]
#: What answers are chosen from, where class folders are only some of a model's classes: all of these, or the folders.
Answers = Literal["all", "folder"]
#: What a model computes in: float32, or bfloat16 where autocast deems it safe.
Precision = Literal["fp32", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


class Metric(StrEnum):
    """What ``met`` counts."""

    #: Images that are classified as labelled.
    ACCURACY = "accuracy"
    #: Images whose prediction is not that of the clean image.
    FOOLING = "fooling rate"
    #: The same among images that are classified as labelled when clean.
    FOOLING_OF_CORRECT = "fooling rate of correct images"


class Subject(Fact, frozen=True):
    """The model that was measured.

    Attributes:
        run: Name of the run folder, a label.
        model: Name of the model in the catalog, or ``package.module:factory``.
        weights: SHA-256 of the weights (hex).
    """

    run: str
    model: str
    weights: str


class Images(Fact, frozen=True):
    """The clean images.

    Attributes:
        dataset: Name of the data set or of its folder, a label.
        split: ``"train"`` or ``"test"``, a label.
        fingerprint: Hash of their content: pixels, labels, class names, positions.
        count: Number of images.
    """

    dataset: str
    split: str
    fingerprint: str
    count: Count


class Measurement(Fact, frozen=True):
    """One cell of an evaluation: everything that decides the counts, with labels that say where they belong.

    Attributes:
        subject: The model.
        images: The clean images.
        perturbation: What was done to them.
        policy: How lambda was chosen.
        metric: What is counted.
        batch_size: Images at a time where the counts depend on it (attacks, whose random starts are drawn per batch,
            and policies that look at a whole batch), else ``None``.
        precision: What the model computes in, and the one that transfer attacks are crafted on.
    """

    subject: Subject
    images: Images
    perturbation: Perturbation
    policy: Policy
    metric: Metric = Metric.ACCURACY
    batch_size: Positive | None = None
    precision: Precision = "fp32"

    @property
    def key(self) -> str:
        """SHA-256 (hex) over all that decides the counts: not over the names of run, data set and split.

        Two measurements with one key are the same, so a store never measures one twice.
        """
        model, images = (self.subject.model, self.subject.weights), self.images.fingerprint
        more = () if self.precision == "fp32" else (self.precision,)  # float32 has the keys of a time without others
        return digest_of((*model, images, self.perturbation, self.policy, self.metric, self.batch_size, *more))


class Outcomes(Fact, frozen=True):
    """Which images met the metric.

    Attributes:
        packed: One bit for each image, the first image the highest bit of the first byte.
        count: Number of images.
    """

    packed: bytes
    count: int

    @classmethod
    def of(cls, met: Sequence[bool]) -> Outcomes:
        """Returns the outcomes of images in their order."""
        size = (len(met) + 7) // 8
        bits = int("0" + "".join("1" if each else "0" for each in met), 2) << (8 * size - len(met))
        return cls(packed=bits.to_bytes(size, "big"), count=len(met))

    @property
    def bits(self) -> int:
        """The outcomes as a number, whose bit 0 is the last image.

        ``first.bits & second.bits`` are the images that met the metric in both of two records of the same images.
        """
        return int.from_bytes(self.packed, "big") >> (8 * len(self.packed) - self.count)

    def to_list(self) -> list[bool]:
        """Returns the outcomes in the order of the images."""
        bits = self.bits
        return [bool(bits >> place & 1) for place in range(self.count - 1, -1, -1)]


class Cost(Fact, frozen=True):
    """What an attack cost.

    Attributes:
        attacked: Images it worked on.
        forward_calls: Images that went forwards through the attacked model.
        gradient_calls: Images that a gradient was taken for.
    """

    attacked: Count
    forward_calls: Count
    gradient_calls: Count


class Flag(StrEnum):
    """What can speak against an accuracy under attack (Athalye, Carlini & Wagner, ICML 2018)."""

    ZERO_GRADIENTS = "zero-gradients"
    NOT_DETERMINISTIC = "not-deterministic"
    LOSS_DOES_NOT_RISE = "loss-does-not-rise"
    NOT_ZERO_AT_A_LARGE_BUDGET = "not-zero-at-a-large-budget"
    GRADIENTS_DIFFER = "gradients-differ"
    BLACK_BOX_BEATS_WHITE_BOX = "black-box-beats-white-box"
    TRANSFER_BEATS_WHITE_BOX = "transfer-beats-white-box"


#: Above this share of its pixels the gradient of an image counts as missing.
ZERO_GRADIENTS = 0.1
#: Below this cosine two gradients of one model differ.
AGREEMENT = 0.9


class ComparedGradients(Fact, frozen=True):
    """The implicit gradient of a model beside that through its steps: mean cosine, and losses that PGD reaches."""

    cosine: float
    implicit: float
    unrolled: float

    @property
    def unrolled_is_stronger(self) -> bool:
        """Whether attacks should differentiate through the steps."""
        return self.unrolled > self.implicit


class GradientChecks(Fact, frozen=True):
    """How far the gradients of a model can be trusted, on a few images.

    Attributes:
        images: Images looked at, those that are misclassified when clean among them.
        zero_gradients: Share in [0, 1] of pixels in which the gradient of the loss is exactly zero.
        lost_at_bounds: Share of the pixels at exactly 0 or 1 that have a gradient only a little inside these bounds.
        deterministic: Whether the model gives the same logits twice.
        one_step: Mean cross-entropy after one step of PGD.
        all_steps: Mean cross-entropy after all steps.
        broken_in_one_step: Images that are misclassified after one step.
        right_at_large_budget: Images that PGD leaves classified as labelled at a budget that allows any image.
        compared: Its two gradients, for a model that has both; all else is of the stronger one.
    """

    images: Count
    zero_gradients: Share
    deterministic: bool
    one_step: float
    all_steps: float
    broken_in_one_step: Count
    right_at_large_budget: Count
    lost_at_bounds: Share = 0.0
    compared: ComparedGradients | None = None

    @property
    def flags(self) -> tuple[Flag, ...]:
        """What speaks against accuracies that gradient attacks measure on this model."""
        stuck = self.broken_in_one_step < self.images and not self.all_steps > self.one_step
        found = {
            Flag.ZERO_GRADIENTS: max(self.zero_gradients, self.lost_at_bounds) > ZERO_GRADIENTS,
            Flag.NOT_DETERMINISTIC: not self.deterministic,
            Flag.LOSS_DOES_NOT_RISE: stuck,
            Flag.NOT_ZERO_AT_A_LARGE_BUDGET: self.right_at_large_budget > 0,
            Flag.GRADIENTS_DIFFER: self.compared is not None and not self.compared.cosine > AGREEMENT,
        }
        return tuple(flag for flag, raised in found.items() if raised)


class AttackDetails(Fact, frozen=True, tag="attack"):
    """What is known of an attack beside its counts.

    Attributes:
        cost: What it cost; ``None`` for images from a file.
        rounded_correct: Images that stay right after rounding to 8 bits; ``None`` where only some were attacked.
        checks: What was found out about the gradients of the attacked model; ``None`` if nothing was.
    """

    cost: Cost | None = None
    rounded_correct: Count | None = None
    checks: GradientChecks | None = None


class BudgetDetails(Fact, frozen=True, tag="minimal-budget"):
    """The smallest budget that breaks each image.

    Attributes:
        levels: The largest budget is divided into ``2^levels`` parts.
        minimal: One byte for each image: k if it breaks at k parts (0 if it is misclassified when clean), 255 if it
            resists the largest budget.
        cost: What the search cost.
    """

    levels: Annotated[int, Meta(ge=1, le=8)]
    minimal: bytes
    cost: Cost


class CraftingDetails(Fact, frozen=True, tag="crafting"):
    """How the crafting of a universal perturbation went.

    Attributes:
        converged: Whether a share of ``1 - delta`` of the crafting images is fooled.
        fooled: Crafting images whose prediction it changes.
        passes: Passes over the crafting images that were begun.
        file: Name of the file that holds the perturbation, in the folder ``perturbations`` of the run.
    """

    converged: bool
    fooled: Count
    passes: Count
    file: Annotated[str, Meta(pattern=r"^[\w.+-]*$")]


class Location(Fact, frozen=True):
    """Where the inputs of a measurement lay: labels for the command that repeats it, never part of a key.

    Attributes:
        data: The data set, as typed for ``--data``; ``""`` for images that `robustcsc.data.load` did not open.
        root: Its folder; ``""`` if it has none.
        image_size: Size that images of a folder were resized and cropped to.
        class_order: Order of its class folders as labels, if their numbers give another one than their text.
        classes: File that names the model's classes by logit; ``""`` without one.
        answers: What answers were chosen from, if its class folders are only some of the model's classes.
        limit: How many evenly spaced images were used; ``None`` for all.
        table: File of the severity table; ``""`` for one of the package.
        frost_root: Folder of the photographs of frost; ``""`` for those of the package.
        files: Folder of corrupted images, or file of saved adversarial images.
        source_run: Run that transfer attacks were crafted on.
    """

    data: str = ""
    root: str = ""
    image_size: int | None = None
    class_order: ClassOrder | None = None
    classes: str = ""
    answers: Answers | None = None
    limit: int | None = None
    table: str = ""
    frost_root: str = ""
    files: str = ""
    source_run: str = ""


class Record(Fact, frozen=True):
    """The counts of one measurement.

    Attributes:
        measurement: What was measured.
        met: How many images met the metric.
        total: Out of how many.
        provenance: How the counts came about.
        lam: The lambda that was used (the mean over images for per-image policies); ``None`` without one.
        outcomes: Which images met the metric; ``None`` if that was not kept.
        details: What else is known, by kind of perturbation.
        location: Where the inputs lay.

    Examples:
        >>> import robustcsc as rc
        >>> sdnet = rc.open("sdnet-digits")
        >>> (record,) = sdnet.evaluate(sdnet.images(limit=50))
        >>> record.measurement.perturbation, record.measurement.policy, record.lam
        (Clean(), TrainingLambda(), 0.1)
        >>> record.met, record.total
        (48, 50)
    """

    measurement: Measurement
    met: Count
    total: Positive
    provenance: Provenance
    lam: Size | None = None
    outcomes: Outcomes | None = None
    details: AttackDetails | BudgetDetails | CraftingDetails | None = None
    location: Location = Location()
