import pytest
import torch
from torch import nn

from robustcsc.attacks.guard import differentiating, seeded
from robustcsc.layers.modes import evaluation_mode


def mixed_model() -> nn.Sequential:
    inner = nn.Sequential(nn.Dropout(), nn.Conv2d(3, 3, 1))
    model = nn.Sequential(nn.BatchNorm2d(3), inner, nn.ReLU()).train()
    model[0].eval()
    inner[0].eval()
    return model


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


def test_every_submodule_gets_its_mode_back() -> None:
    model = mixed_model()
    before = modes(model)
    assert True in before and False in before
    with evaluation_mode(model):
        assert not any(modes(model))
    assert modes(model) == before


def test_modes_come_back_after_an_error() -> None:
    model = mixed_model()
    before = modes(model)
    with pytest.raises(RuntimeError, match="stop"), evaluation_mode(model):
        raise RuntimeError("stop")
    assert modes(model) == before


def test_random_numbers_of_a_block_depend_on_its_seed_only_and_end_with_it() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    draws = []
    for seed in (5, 5, 6):
        with seeded(seed, torch.device("cpu")):
            draws.append(torch.rand(4))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.gpu
def test_random_numbers_of_the_gpu_end_with_the_block() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    device = torch.device("cuda", torch.cuda.current_device())
    torch.cuda.manual_seed(1)
    before = torch.cuda.get_rng_state(device)
    draws = []
    for seed in (5, 5, 6):
        with seeded(seed, device):
            draws.append(torch.rand(4, device=device))
        assert torch.equal(torch.cuda.get_rng_state(device), before)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_gradients_are_recorded_inside_inference_mode() -> None:
    with torch.inference_mode(), differentiating():
        x = torch.ones(2, requires_grad=True)
        assert torch.autograd.grad((x * x).sum(), x)[0].tolist() == [2.0, 2.0]
