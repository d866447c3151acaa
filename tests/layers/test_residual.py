import pytest
import torch
from torch import nn

from robustcsc.layers.residual import BasicBlock, ResidualNetwork, conv, stem


def silence(block: BasicBlock) -> None:
    """Makes the two layers contribute nothing: what is left is the shortcut."""
    nn.init.zeros_(block.bn2.weight)


def test_a_block_adds_its_input_and_ends_in_a_relu() -> None:
    block = BasicBlock(3, 3, 1).eval()
    images = torch.randn(2, 3, 4, 4)
    silence(block)
    assert torch.equal(block(images), images.relu())


def test_a_block_without_shortcut_adds_nothing() -> None:
    block = BasicBlock(3, 3, 1, shortcut=None).eval()
    silence(block)
    assert torch.equal(block(torch.randn(2, 3, 4, 4)), torch.zeros(2, 3, 4, 4))


def test_a_block_that_changes_the_shape_has_a_1x1_convolution_as_shortcut() -> None:
    block = BasicBlock(3, 5, 2).eval()
    silence(block)
    images = torch.randn(2, 3, 6, 6)
    assert isinstance(block.shortcut, nn.Sequential)
    assert isinstance(block.shortcut[0], nn.Conv2d)
    assert block.shortcut[0].kernel_size == (1, 1)
    mixed = torch.einsum("dc,nchw->ndhw", block.shortcut[0].weight[:, :, 0, 0], images[:, :, ::2, ::2])
    torch.testing.assert_close(block(images), (mixed / (1 + 1e-5) ** 0.5).relu())


def test_the_two_layers_are_normalised_and_the_inner_activation_lies_between_them() -> None:
    block = BasicBlock(2, 2, 1).eval()
    images = torch.randn(1, 2, 4, 4)
    scale = (1 + 1e-5) ** -0.5
    hidden = (torch.conv2d(images, block.conv1.weight, padding=1) * scale).relu()  # type: ignore[arg-type]
    output = torch.conv2d(hidden, block.conv2.weight, padding=1) * scale  # type: ignore[arg-type]
    torch.testing.assert_close(block(images), (output + images).relu())


@pytest.mark.parametrize(("form", "size", "expected"), [("cifar", 32, 32), ("imagenet", 224, 56), ("imagenet", 97, 25)])
def test_the_imagenet_stem_quarters_the_image_and_the_cifar_stem_keeps_it(form: str, size: int, expected: int) -> None:
    features = stem(form, 3, 2, conv, nn.ReLU())(torch.randn(1, 3, size, size))  # type: ignore[arg-type]
    assert features.shape == (1, 2, expected, expected)


def test_a_form_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="form must be cifar or imagenet, got 'CIFAR'"):
        stem("CIFAR", 3, 2, conv, nn.ReLU())  # type: ignore[arg-type]


def test_every_stage_but_the_first_halves_the_image() -> None:
    network = ResidualNetwork(nn.Identity(), 2, (2, 3, 4), (1, 2, 1), 7)
    features = torch.randn(2, 2, 8, 8)
    for stage, shape in zip(network.stages, [(2, 8), (3, 4), (4, 2)], strict=True):
        features = stage(features)
        assert features.shape[1:] == (shape[0], shape[1], shape[1])
    assert [len(stage) for stage in network.stages] == [1, 2, 1]  # type: ignore[arg-type]


def test_the_head_reads_the_average_of_each_channel() -> None:
    network = ResidualNetwork(nn.Identity(), 3, (), (), 2)
    images = torch.randn(4, 3, 5, 5)
    expected = images.mean((2, 3)) @ network.head.weight.T + network.head.bias
    torch.testing.assert_close(network(images), expected)
