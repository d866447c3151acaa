from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcsc.layers.operator import ConvOperator
from robustcsc.layers.residual import BasicBlock
from robustcsc.layers.residual_csc import INITIAL_EIGENVALUE, ResidualCSCBlock

SHAPES = [(8, 8, 1), (8, 12, 2), (8, 12, 1), (8, 8, 2)]


def statistics(block: nn.Module) -> None:
    """Makes batch normalisation do something."""
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias, std=0.3)
            module.running_mean = torch.randn(module.num_features) * 0.2
            module.running_var = torch.rand(module.num_features) + 0.5


def twins(in_channels: int, channels: int, stride: int, c: float) -> tuple[ResidualCSCBlock, BasicBlock]:
    """A Res-CSC block and the ResNet block with its other parameters."""
    torch.manual_seed(0)
    block = ResidualCSCBlock(in_channels, channels, stride)
    statistics(block)
    nn.init.constant_(block.synthesis_weight, c)
    resnet = BasicBlock(in_channels, channels, stride, inner=partial(nn.ReLU, inplace=True))
    state = block.state_dict()
    del state["synthesis_weight"]
    resnet.load_state_dict(state)  # strict: the parameters are those of the ResNet's, and c
    return block, resnet


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_with_c_zero_it_is_the_block_of_a_resnet_to_the_bit(
    shape: tuple[int, int, int], training: bool, layout: torch.memory_format
) -> None:
    block, resnet = twins(*shape, c=0.0)
    images = torch.randn(3, shape[0], 9, 8).contiguous(memory_format=layout)
    outputs = [it.train(training)(images) for it in (block, resnet)]
    assert torch.equal(*outputs)
    assert outputs[0].any()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("keep_start", [True, False])
def test_the_second_layer_is_equation_5_written_with_matrices(shape: tuple[int, int, int], keep_start: bool) -> None:
    torch.manual_seed(1)
    block = ResidualCSCBlock(*shape, keep_start=keep_start).eval().double()
    nn.init.constant_(block.synthesis_weight, -0.3)
    images = torch.randn(1, shape[0], 6, 5).double()
    start = block.shortcut(images)
    signal = F.relu(block.bn1(block.conv1(images)))
    # Convolution as a matrix: its columns are the responses to the unit images.
    size = signal[0].numel()
    basis = torch.eye(size).double().view(size, *signal.shape[1:])
    analysis = F.conv2d(basis, block.conv2.weight, padding=1).flatten(1).T
    vector = analysis @ signal.flatten() - 0.3 * analysis @ (analysis.T @ start.flatten())
    expected = block.bn2(vector.view_as(signal))
    expected = F.relu(expected + start if keep_start else expected)
    torch.testing.assert_close(block(images), expected, rtol=1e-10, atol=1e-10)


def test_at_c_zero_the_simplified_block_has_no_memory_of_its_input_but_through_its_first_layer() -> None:
    torch.manual_seed(2)
    block = ResidualCSCBlock(4, 4, 1, keep_start=False).eval()
    plain = BasicBlock(4, 4, 1, shortcut=None).eval()
    nn.init.zeros_(block.synthesis_weight)
    plain.load_state_dict({name: it for name, it in block.state_dict().items() if name != "synthesis_weight"})
    images = torch.randn(2, 4, 6, 6)
    assert torch.equal(block(images), plain(images))


@pytest.mark.parametrize("channels", [16, 32, 64])
def test_the_initial_c_is_minus_the_inverse_of_the_largest_eigenvalue(channels: int) -> None:
    torch.manual_seed(3)
    weight = torch.empty(channels, channels, 3, 3)
    nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")  # as ResidualNetwork does
    operator = ConvOperator(weight, padding=(1, 1))
    largest = operator.lipschitz((16, 16))
    assert largest == pytest.approx(INITIAL_EIGENVALUE, rel=0.2)
    c = ResidualCSCBlock(channels, channels, 1).synthesis_weight.item()
    assert 0.8 < -c * largest < 1.2  # below 2, the step from the start goes downhill


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(4)
    block = ResidualCSCBlock(2, 2, 1).eval().double()
    images = torch.randn(1, 2, 4, 4).double().requires_grad_()

    def output(images: Tensor, c: Tensor, weight: Tensor) -> Tensor:
        parameters = {"synthesis_weight": c, "conv2.weight": weight}
        result: Tensor = torch.func.functional_call(block, parameters, (images,))
        return result

    assert torch.autograd.gradcheck(output, (images, block.synthesis_weight, block.conv2.weight))
