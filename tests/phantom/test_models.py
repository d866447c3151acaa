"""Every model's forward pass and training step stay on one device, and read nothing back."""

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F

from robustcsc.adaptive.policies import AdaptiveModel, ModelAtLambda
from robustcsc.layers.constraints import project_parameters
from robustcsc.layers.task_driven import ElasticNetCode
from robustcsc.measurements.fits import LambdaFit
from robustcsc.measurements.policies import Scope
from robustcsc.models.catalog import MODELS, ModelSpec, build, default_spec
from tests.models.test_contract import QUICK
from tests.phantom.device import PHANTOM, PhantomTensor, Wait, moved, on_phantom, watched

#: The length of the path of an elastic-net code depends on the values, and so do the sizes of its linear systems: the
#: host has to follow both.
FOLLOWED = {
    "elastic_net._along_paths",
    "elastic_net._exchange",
    "elastic_net._solve",
    "elastic_net.exchange",
    "elastic_net.only",
    "elastic_net.start",
    "task_driven._check",
    "task_driven._solve_active",
}


def entries() -> Iterator[object]:
    for name in MODELS:
        yield name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)


@pytest.mark.parametrize("name", [*entries()])
def test_forward_and_training_step_stay_on_the_device(name: str) -> None:
    spec = specification(name)
    model, pixels = build(spec), torch.rand(2, *spec.image_shape)
    expected = model.eval()(pixels).detach()
    model = moved(model)
    coded = any(isinstance(module, ElasticNetCode) for module in model.modules())
    waits: list[Wait] | None = [] if coded else None
    images, labels = on_phantom(pixels), on_phantom(torch.tensor([0, 9]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    with watched(waits):
        with torch.no_grad():
            found = model(images)
        torch.autograd.backward(F.cross_entropy(model.train()(images), labels))
        optimizer.step()
        project_parameters(model)
    assert isinstance(found, PhantomTensor)
    torch.testing.assert_close(found.host, expected, rtol=1e-4, atol=1e-5)
    assert {wait.place for wait in waits or ()} <= FOLLOWED
    assert all(it.device == PHANTOM for it in (*model.parameters(), *model.buffers()))


@pytest.mark.parametrize("policy", ["fixed", Scope.BATCH, Scope.IMAGE])
@pytest.mark.parametrize("name", ["sdnet20", "sdnet-digits", pytest.param("sdnet18-all", marks=pytest.mark.slow)])
def test_policies_and_their_gradients_stay_on_the_device(
    name: str, policy: str, make_fit: Callable[..., LambdaFit]
) -> None:
    spec = specification(name)
    model = moved(build(spec)).eval()
    images = on_phantom(torch.rand(2, *spec.image_shape)).requires_grad_()
    chosen = ModelAtLambda(model, 0.3) if policy == "fixed" else AdaptiveModel(model, make_fit(), Scope(policy))
    with watched():
        (gradient,) = torch.autograd.grad(chosen(images).sum(), images)
    assert gradient.device == PHANTOM and gradient.shape == images.shape


def specification(name: str) -> ModelSpec:
    few = {"num_steps": 4, "backward_steps": 4} if name.startswith("mdeq") else {}
    return default_spec(name, 10, (1, 8, 8) if name.endswith("digits") else (3, 32, 32), options=few)
