import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

from robustcsc.attacks.gradient import pgd
from robustcsc.errors import AttackError, ModelError
from robustcsc.measurements.threats import Norm, ThreatModel

NORMS: list[Norm] = ["linf", "l2"]
LINF = ThreatModel("linf", 8 / 255)


class TwoClasses(nn.Module):
    """Logits ``(scale * w.x, 0)``: the margin of class 0 is linear in the image."""

    def __init__(self, weight: Tensor, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.scale = scale

    def forward(self, images: Tensor) -> Tensor:
        margin = self.scale * (images * self.weight).sum(dim=(1, 2, 3))
        return torch.stack([margin, torch.zeros_like(margin)], dim=1)

    def margin(self, images: Tensor) -> Tensor:
        return (images.detach().double() * self.weight.detach().double()).sum(dim=(1, 2, 3))


class Ripples(nn.Module):
    """Two classes whose margin is a steep wave of the image: which random start breaks it is a matter of luck."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.directions = nn.Parameter(torch.randn(6, 12, generator=generator))
        self.calls: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.calls.append(len(images))
        margin = 0.4 + torch.sin(60 * images.flatten(1) @ self.directions.T).mean(dim=1)
        return torch.stack([margin, torch.zeros_like(margin)], dim=1)


def random_images(n: int, shape: tuple[int, int, int] = (3, 4, 4), seed: int = 0) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed))


def random_weight(shape: tuple[int, int, int] = (3, 4, 4), seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def small_network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(64, 3)
        )


# --- the ball and the box ---


@settings(max_examples=60, deadline=None)
@given(
    norm=st.sampled_from(NORMS),
    epsilon=st.floats(0, 1),
    kind=st.sampled_from(["black", "white", "corners", "uniform"]),
    seed=st.integers(0, 10_000),
    step_size=st.sampled_from([None, 1e-4, 0.99]),
    random_start=st.booleans(),
)
def test_images_never_leave_the_ball_or_the_box(
    norm: Norm, epsilon: float, kind: str, seed: int, step_size: float | None, random_start: bool
) -> None:
    uniform = random_images(3, seed=seed)
    images = {"black": uniform * 0, "white": uniform * 0 + 1, "corners": uniform.round(), "uniform": uniform}[kind]
    adversarial = pgd(
        small_network(seed),
        images,
        torch.tensor([0, 1, 2]),
        ThreatModel(norm, epsilon),
        steps=3,
        step_size=step_size,
        random_start=random_start,
        seed=seed,
    )
    assert adversarial.shape == images.shape and adversarial.dtype == images.dtype
    assert adversarial.min() >= 0 and adversarial.max() <= 1
    change = (adversarial.double() - images.double()).flatten(1)
    order = math.inf if norm == "linf" else 2
    assert change.norm(p=order, dim=1).max() <= epsilon * (1 + 1e-15)


@pytest.mark.parametrize("norm", NORMS)
def test_budget_zero_changes_nothing(norm: Norm) -> None:
    images = random_images(3)
    adversarial = pgd(small_network(), images, torch.tensor([0, 1, 2]), ThreatModel(norm, 0.0))
    assert torch.equal(adversarial, images)
    assert adversarial.data_ptr() != images.data_ptr()


# --- closed forms ---


@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e-30])
def test_linf_attack_is_optimal_for_two_linear_classes(scale: float) -> None:
    # FGSM is the exact worst case here: the margin falls by epsilon * ||w||_1.
    weight = random_weight()
    model = TwoClasses(weight, scale)
    images = 0.3 + 0.4 * random_images(5)  # no pixel meets the box
    adversarial = pgd(model, images, torch.zeros(5, dtype=torch.int64), LINF)
    drop = model.margin(images) - model.margin(adversarial)
    torch.testing.assert_close(drop, torch.full((5,), 8 / 255 * weight.abs().sum().item()).double(), rtol=1e-5, atol=0)


def test_linf_attack_is_optimal_for_two_linear_classes_at_the_box() -> None:
    weight = random_weight()
    model = TwoClasses(weight)
    images = random_images(5).mul(1.4).sub(0.2).clamp(0, 1)
    worst = (images - 8 / 255 * weight.sign()).clamp(0, 1)
    adversarial = pgd(model, images, torch.zeros(5, dtype=torch.int64), LINF)
    torch.testing.assert_close(adversarial, worst, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e-30])
@pytest.mark.parametrize("label", [0, 1])
def test_l2_attack_is_optimal_for_two_linear_classes(scale: float, label: int) -> None:
    # The margin falls by epsilon * ||w||_2, however small the gradient is.
    weight = random_weight()
    model = TwoClasses(weight, scale)
    images = 0.3 + 0.4 * random_images(5)
    labels = torch.full((5,), label)
    adversarial = pgd(model, images, labels, ThreatModel("l2", 0.2), random_start=False)
    drop = (model.margin(images) - model.margin(adversarial)) * (1 if label == 0 else -1)
    best = torch.full((5,), 0.2 * weight.norm().item()).double()
    torch.testing.assert_close(drop, best, rtol=1e-5, atol=0)
    from_random = model.margin(pgd(model, images, labels, ThreatModel("l2", 0.2)))
    torch.testing.assert_close((model.margin(images) - from_random).abs(), best, rtol=1e-2, atol=0)


@pytest.mark.parametrize("norm", NORMS)
def test_without_random_start_an_image_does_not_depend_on_its_batch(norm: Norm) -> None:
    images, labels = random_images(4), torch.tensor([0, 1, 2, 0])
    model, threat = small_network(), ThreatModel(norm, 0.1)
    together = pgd(model, images, labels, threat, steps=3, random_start=False)
    alone = pgd(model, images[2:3], labels[2:3], threat, steps=3, random_start=False)
    torch.testing.assert_close(together[2:3], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_step_size_limits_the_way(steps: int) -> None:
    images = 0.3 + 0.4 * random_images(5)
    labels = torch.zeros(5, dtype=torch.int64)
    settings: dict[Norm, float] = {"linf": math.inf, "l2": 2}
    for norm, order in settings.items():
        adversarial = pgd(
            TwoClasses(random_weight()),
            images,
            labels,
            ThreatModel(norm, 0.25),
            steps=steps,
            step_size=0.01,
            random_start=False,
        )
        way = (adversarial - images).flatten(1).norm(p=order, dim=1)
        torch.testing.assert_close(way, torch.full((5,), 0.01 * steps), rtol=1e-4, atol=0)


# --- what is returned ---


def test_restarts_never_help_the_model() -> None:
    model = Ripples()
    images = random_images(20, (3, 2, 2))
    labels = (model(images).argmax(dim=1) + (torch.arange(20) % 4 == 0)) % 2  # a quarter is misclassified already
    for threat in (ThreatModel("linf", 0.01), ThreatModel("l2", 0.01)):
        adversarial = pgd(model, images, labels, threat, steps=2, step_size=0.5, restarts=2)  # strides beyond waves
        wrong_before = model(images).argmax(dim=1) != labels
        wrong_after = model(adversarial).argmax(dim=1) != labels
        assert wrong_before.sum() == 5
        assert not (wrong_before & ~wrong_after).any()
        loss_before = nn.functional.cross_entropy(model(images), labels, reduction="none")
        loss_after = nn.functional.cross_entropy(model(adversarial), labels, reduction="none")
        assert (loss_after >= loss_before).all()


def test_misclassified_images_are_attacked_too() -> None:
    images = 0.3 + 0.4 * random_images(5)
    model = TwoClasses(random_weight())
    labels = (model(images).argmax(dim=1) + 1) % 2
    adversarial = pgd(model, images, labels, LINF)
    torch.testing.assert_close((adversarial - images).abs(), torch.full_like(images, 8 / 255), rtol=1e-5, atol=0)


def test_restarts_break_more_images_and_keep_what_was_broken_first() -> None:
    model, threat = Ripples(), ThreatModel("linf", 0.03)
    images, labels = random_images(40, (3, 2, 2)), torch.zeros(40, dtype=torch.int64)
    once = pgd(model, images, labels, threat, steps=2, step_size=0.002, restarts=1)
    often = pgd(model, images, labels, threat, steps=2, step_size=0.002, restarts=8)
    broken_once = (model(once).argmax(dim=1) != labels) & (model(images).argmax(dim=1) == labels)
    broken_often = model(often).argmax(dim=1) != labels
    assert 0 < broken_once.sum() < broken_often.sum()
    assert torch.equal(often[broken_once], once[broken_once])
    kept = ~broken_often
    losses = [nn.functional.cross_entropy(model(batch), labels, reduction="none")[kept] for batch in (once, often)]
    assert (losses[1] >= losses[0]).all()


def test_restarts_attack_only_images_that_are_not_broken_yet() -> None:
    model = Ripples()
    images, labels = random_images(40, (3, 2, 2)), torch.zeros(40, dtype=torch.int64)
    pgd(model, images, labels, ThreatModel("linf", 0.03), steps=2, step_size=0.002, restarts=4)
    attacked = model.calls[2::3]  # after the probe and the clean batch, each restart takes two steps and one score
    assert attacked[0] == 40
    assert attacked == sorted(attacked, reverse=True) and attacked[-1] < 40


def test_restarts_end_when_every_image_is_broken() -> None:
    model = Ripples()
    images, labels = random_images(10, (3, 2, 2)), torch.zeros(10, dtype=torch.int64)
    pgd(model, images, labels, ThreatModel("linf", 0.5), steps=5, step_size=2 / 255, restarts=1000)
    assert len(model.calls) < 100


# --- no traces ---


@pytest.mark.parametrize("norm", NORMS)
def test_model_inputs_and_random_state_stay_as_they_were(norm: Norm) -> None:
    model = small_network()
    model.train()
    model[1].eval()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    model[5].weight.requires_grad_(False)
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    images = random_images(3)
    images.requires_grad_()
    copy = images.detach().clone()
    random_state = torch.get_rng_state()
    adversarial = pgd(model, images, torch.tensor([0, 1, 2]), ThreatModel(norm, 0.1), steps=2, restarts=2)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(bool((parameter.grad == 3).all()) for parameter in model.parameters() if parameter.grad is not None)
    assert [parameter.requires_grad for parameter in model.parameters()] == [True] * 4 + [False, True]
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert torch.equal(images, copy) and images.requires_grad and images.grad is None
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not adversarial.requires_grad


def test_modes_and_random_state_come_back_after_an_error() -> None:
    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small_network().train()
            self.inner[1].eval()
            self.calls = 0

        def forward(self, images: Tensor) -> Tensor:
            self.calls += 1
            if self.calls == 4:
                raise RuntimeError("out of memory")
            logits: Tensor = self.inner(images)
            return logits

    model = Failing()
    modes = [module.training for module in model.modules()]
    random_state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="out of memory"):
        pgd(model, random_images(2), torch.tensor([0, 1]), LINF)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random_state)


def test_the_model_is_attacked_in_evaluation_mode() -> None:
    images, labels = random_images(4), torch.tensor([0, 1, 2, 0])
    train, evaluation = small_network().train(), small_network().eval()
    assert torch.equal(pgd(train, images, labels, LINF), pgd(evaluation, images, labels, LINF))


@pytest.mark.parametrize("norm", NORMS)
def test_the_seed_decides(norm: Norm) -> None:
    model, images, labels = small_network(), random_images(4), torch.tensor([0, 1, 2, 0])
    threat = ThreatModel(norm, 0.1)
    first = pgd(model, images, labels, threat, steps=2, seed=5)
    torch.rand(3)
    assert torch.equal(pgd(model, images, labels, threat, steps=2, seed=5), first)
    assert not torch.equal(pgd(model, images, labels, threat, steps=2, seed=6), first)


# --- models of every kind ---


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("images_last", [False, True])
def test_channels_last_models_and_images_give_the_same_result(norm: Norm, images_last: bool) -> None:
    images, labels = random_images(3), torch.tensor([0, 1, 2])
    threat = ThreatModel(norm, 0.05)
    expected = pgd(small_network(), images, labels, threat, steps=3)
    model = small_network().to(memory_format=torch.channels_last)
    given_images = images.contiguous(memory_format=torch.channels_last) if images_last else images
    result = pgd(model, given_images, labels, threat, steps=3)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)


def test_models_that_call_functionally_are_attacked() -> None:
    class Scaled(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Tensor) -> Tensor:
            weight = 0.02 * images.mean() * torch.ones(3, 4, 4)
            logits: Tensor = functional_call(self.model, {"weight": weight}, (images,))
            return logits

    images = 0.3 + 0.4 * random_images(5)
    # The margin 0.02 * mean(x) * sum(x) grows with every pixel, so darkening all of them is the worst case.
    adversarial = pgd(Scaled(TwoClasses(random_weight())), images, torch.zeros(5, dtype=torch.int64), LINF)
    torch.testing.assert_close(adversarial, images - 8 / 255, rtol=0, atol=1e-6)


def test_models_without_parameters_are_attacked_silently(capsys: pytest.CaptureFixture[str]) -> None:
    class Brightness(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.stack([images.sum(dim=(1, 2, 3)), torch.full((len(images),), 20.0)], dim=1)

    images = 0.3 + 0.4 * random_images(5)
    adversarial = pgd(Brightness(), images, torch.zeros(5, dtype=torch.int64), LINF)
    torch.testing.assert_close(adversarial, images - 8 / 255, rtol=0, atol=1e-6)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_callers_may_have_turned_gradients_off(off: type[torch.no_grad] | type[torch.inference_mode]) -> None:
    model, labels = small_network(), torch.tensor([0, 1, 2])
    expected = pgd(model, random_images(3), labels, LINF, steps=2)
    with off():
        assert torch.equal(pgd(model, random_images(3), labels, LINF, steps=2), expected)


def test_no_images_give_no_images() -> None:
    empty = pgd(small_network(), torch.empty(0, 3, 4, 4), torch.empty(0, dtype=torch.int64), LINF)
    assert empty.shape == (0, 3, 4, 4)


# --- refusals ---


class Fixed(nn.Module):
    """Returns what it was given, whatever the images."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: Tensor) -> Tensor:
        return self.logits


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"step_size": 0.0}, "step_size must be a positive number"),
        ({"step_size": math.nan}, "step_size must be a positive number"),
        ({"step_size": math.inf}, "step_size must be a positive number"),
        ({"step_size": 2}, "did you mean 2/255?"),
        ({"restarts": 0}, "restarts must be at least 1, not 0"),
        ({"restarts": 2, "random_start": False}, "Restarts without a random start"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"seed": 2**63}, "seed must be at least 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, int | float], message: str) -> None:
    with pytest.raises(AttackError, match=message):
        pgd(small_network(), random_images(2), torch.tensor([0, 1]), LINF, **settings)  # type: ignore[arg-type]


def test_images_and_labels_are_checked_against_the_model() -> None:
    with pytest.raises(AttackError, match="must lie in"):
        pgd(small_network(), random_images(2) + 1, torch.tensor([0, 1]), LINF)
    with pytest.raises(AttackError, match="below the 3 classes"):
        pgd(small_network(), random_images(2), torch.tensor([0, 3]), LINF)


def test_a_model_without_gradient_is_refused() -> None:
    for logits in (torch.zeros(1, 2), torch.zeros(1, 2, requires_grad=True)):
        with pytest.raises(AttackError, match="No gradient reaches the images"):
            pgd(Fixed(logits), random_images(1), torch.tensor([0]), LINF)


@pytest.mark.parametrize("shape", [(2,), (3, 2), (2, 3, 1)])
def test_a_model_that_returns_no_logits_is_refused(shape: tuple[int, ...]) -> None:
    class Shaped(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.sum() * torch.ones(shape)

    with pytest.raises(ModelError, match="must return one logit per image and class"):
        pgd(Shaped(), random_images(2), torch.tensor([0, 1]), LINF)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_blamed_before_gradients(value: float) -> None:
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            logits = images.flatten(1)[:, :2].clone()
            logits[1:, 0] *= value
            return logits

    with pytest.raises(ModelError, match="logits that are not finite for 2 of 3 images"):
        pgd(Broken(), random_images(3), torch.tensor([0, 1, 0]), LINF)


@pytest.mark.parametrize("norm", NORMS)
def test_a_gradient_that_is_not_finite_is_refused(norm: Norm) -> None:
    class RootAtZero(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            margin = (images * 0).sqrt().sum(dim=(1, 2, 3))
            return torch.stack([margin, margin + 1], dim=1)

    with pytest.raises(AttackError, match="gradient of the model is not finite"):
        pgd(RootAtZero(), random_images(2), torch.tensor([0, 1]), ThreatModel(norm, 0.1))


@pytest.mark.gpu
def test_attacks_on_the_gpu_are_optimal_and_leave_its_random_state() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    weight = random_weight()
    model = TwoClasses(weight).cuda()
    images = (0.3 + 0.4 * random_images(5)).cuda()
    random_state = torch.cuda.get_rng_state()
    adversarial = pgd(model, images, torch.zeros(5, dtype=torch.int64), LINF)
    assert adversarial.device == images.device
    drop = model.margin(images) - model.margin(adversarial)
    expected = torch.full((5,), 8 / 255 * weight.abs().sum().item()).double()
    torch.testing.assert_close(drop.cpu(), expected, rtol=1e-5, atol=0)
    assert torch.equal(torch.cuda.get_rng_state(), random_state)
