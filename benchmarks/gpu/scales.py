"""How much is done: on a GPU in nine minutes, or of everything a little."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Sizes of what is measured.

    Attributes:
        patience: Times the seconds of each step that it may take.
        sparse: The network with a CSC layer.
        plain: The network it is compared with.
        corruptions: Those whose speed is measured.
        corruption_batch: Images at a time; those of `benchmarks/corruptions.py` if ``None``.
        corruption_seconds: Least time for each.
        copied: Bytes of the copy that measures the bandwidth of the memory.
        sweep_corruptions: Those of the sweep whose time is compared with that of the bare network.
        sweep_images: Its images.
        batches: Batch sizes of training and inference.
        repeats: Pairs of timed calls of each ratio.
        compiled: Whether ``torch.compile`` compiles; else it is called, and does nothing.
        trial_images: Training images of the two epochs whose time gives the number of epochs.
        seconds: Time of the epochs of each training.
        most_epochs: Epochs at most.
        test_images: Test images; all if ``None``.
        attacked: Test images under attack.
        noised: Test images under noise.
        fitted: Held-out images of the lambda fit at most.
        grid: Lambdas that it tries; those of `rc.Session.fit_lambdas` if ``None``.
        crafted: Training images that universal perturbations are crafted on.
        batch_size: Images at a time where accuracy is measured.
        others: Networks of other layers, of whose training the speed is told.
        epoch_seconds: Time of the epoch of each at most.
    """

    patience: float = 1
    sparse: str
    plain: str
    corruptions: str = "all"
    corruption_batch: int | None = None
    corruption_seconds: float
    copied: int
    sweep_corruptions: str = "standard"
    sweep_images: int
    batches: tuple[int, ...]
    repeats: int
    compiled: bool
    trial_images: int
    seconds: float
    most_epochs: int
    test_images: int | None
    attacked: int
    noised: int
    fitted: int
    grid: tuple[float, ...] | None = None
    crafted: int
    batch_size: int
    others: tuple[str, ...]
    epoch_seconds: float

    @property
    def networks(self) -> tuple[str, str]:
        """Both networks; also the names of their runs."""
        return self.sparse, self.plain


SCALES = {
    "full": Scale(
        sparse="sdnet18",
        plain="resnet18",
        corruption_seconds=0.3,
        copied=1 << 30,
        sweep_images=4000,
        batches=(128, 512),
        repeats=11,
        compiled=True,
        trial_images=12_800,
        seconds=65,
        most_epochs=100,
        test_images=None,
        attacked=1000,
        noised=2000,
        fitted=1000,
        crafted=1000,
        batch_size=1000,
        others=("scn18", "mdeq-tiny"),
        epoch_seconds=12,
    ),
    "rehearsal": Scale(
        patience=20,  # a rehearsal may share the processor
        sparse="sdnet-textures",
        plain="resnet-textures",
        corruptions="gaussian_noise,jpeg_compression",
        corruption_batch=2,
        corruption_seconds=0,
        copied=1 << 20,
        sweep_corruptions="gaussian_noise",
        sweep_images=4,
        batches=(4,),
        repeats=1,
        compiled=False,
        trial_images=10,
        seconds=1,
        most_epochs=1,
        test_images=20,
        attacked=2,
        noised=4,
        fitted=4,
        grid=(0.1, 0.5),
        crafted=2,
        batch_size=20,
        others=("mdeq-digits",),
        epoch_seconds=10,
    ),
}


@dataclass(frozen=True)
class Step:
    """One step; what it does is in `steps.PARTS`.

    Attributes:
        seconds: Its share of the time. What earlier steps leave of theirs is added.
        trains: Whether it needs the images, and the networks that are trained on them.
    """

    seconds: float
    trains: bool = False


STEPS = {
    "tests": Step(30),
    "corruptions": Step(40),
    "sweep": Step(60),
    "throughput": Step(40),
    "training": Step(190, trains=True),
    "robustness": Step(70, trains=True),
    "adaptive": Step(15),
    "uap": Step(20, trains=True),
    "epochs": Step(40, trains=True),
    "compiled": Step(35),
}
