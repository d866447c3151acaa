from collections.abc import Callable
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from robustcsc.layers import operator as module
from robustcsc.layers.operator import ConvOperator

DenseMatrix = Callable[[ConvOperator, tuple[int, int]], Tensor]

#: in_channels, atoms, kernel, stride, padding, dilation, image size
LAYOUTS = [
    (1, 3, (1, 1), (1, 1), (0, 0), (1, 1), (5, 6)),
    (2, 4, (3, 3), (1, 1), (1, 1), (1, 1), (6, 6)),
    (2, 4, (3, 3), (1, 1), (2, 2), (2, 2), (7, 6)),
    (1, 4, (3, 3), (1, 1), (0, 0), (1, 1), (6, 5)),
    (1, 3, (1, 1), (1, 1), (1, 1), (1, 1), (4, 4)),  # padding that a mirrored convolution cannot undo
    (2, 3, (3, 3), (2, 2), (1, 1), (1, 1), (6, 7)),
    (2, 3, (3, 3), (2, 2), (0, 0), (2, 2), (7, 6)),
    (1, 4, (5, 5), (3, 3), (2, 2), (1, 1), (6, 6)),
    (3, 2, (3, 1), (1, 2), (0, 1), (1, 1), (5, 6)),
    (2, 3, (4, 4), (2, 2), (1, 1), (1, 1), (7, 6)),
]
Pair = tuple[int, int]
Layout = tuple[int, int, Pair, Pair, Pair, Pair, Pair]


def make(layout: Layout, mirrored: bool = False, seed: int = 0) -> tuple[ConvOperator, Pair]:
    channels, atoms, kernel, stride, padding, dilation, image_size = layout
    weight = torch.randn(atoms, channels, *kernel, generator=torch.Generator().manual_seed(seed)).double()
    return ConvOperator(weight, stride, padding, dilation, mirrored), image_size


@pytest.fixture(params=["thin", "transposed", "mirrored"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The form in which the few channels of these tests are computed."""
    if request.param != "thin":
        monkeypatch.setattr(module, "_LANES", 0)
    return str(request.param)


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_analysis_is_the_adjoint_of_synthesis_at_exact_sizes(
    kernel: int, stride: int, dilation: int, form: str
) -> None:
    torch.manual_seed(0)
    extent = dilation * (kernel - 1) + 1
    weight = torch.randn(3, 2, kernel, kernel).double()
    for padding in {0, 1, kernel // 2}:
        operator = ConvOperator(weight, (stride, stride), (padding, padding), (dilation, dilation), form == "mirrored")
        for height, width in product((6, 7, 13), (8, 11)):
            if min(height, width) + 2 * padding < extent:
                continue
            positions = [(size + 2 * padding - extent) // stride + 1 for size in (height, width)]
            images = torch.randn(2, 2, height, width, dtype=torch.float64)
            codes = torch.randn(2, 3, *positions, dtype=torch.float64)
            synthesis, analysis = operator.synthesize(codes, (height, width)), operator.analyse(images)
            assert synthesis.shape == images.shape
            assert analysis.shape == codes.shape
            error = (synthesis * images).sum() - (codes * analysis).sum()
            assert abs(error) < 1e-12 * codes.norm() * analysis.norm(), (padding, height, width)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_operators_equal_the_matrix_of_placed_atoms(layout: Layout, form: str, dense_matrix: DenseMatrix) -> None:
    operator, image_size = make(layout, form == "mirrored")
    matrix = dense_matrix(operator, image_size)
    assert torch.equal(operator.as_matrix(image_size), matrix)
    images = torch.randn(3, layout[0], *image_size, dtype=torch.float64)
    analysis = operator.analyse(images)
    torch.testing.assert_close(analysis.flatten(1), images.flatten(1) @ matrix, rtol=1e-12, atol=1e-12)
    codes = torch.randn_like(analysis)
    synthesis = operator.synthesize(codes, image_size)
    torch.testing.assert_close(synthesis.flatten(1), codes.flatten(1) @ matrix.T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rectified", [False, True])
def test_a_step_goes_down_the_gradient_of_the_squared_error(
    layout: Layout, rectified: bool, form: str, dense_matrix: DenseMatrix
) -> None:
    operator, image_size = make(layout, form == "mirrored")
    matrix, bias = dense_matrix(operator, image_size), torch.randn(layout[1]).double()
    images = torch.randn(3, layout[0], *image_size, dtype=torch.float64)
    codes = torch.randn_like(operator.analyse(images))
    shift = bias.repeat_interleave(codes[0, 0].numel())
    flat = codes.flatten(1)
    first = images.flatten(1) @ matrix + shift
    second = flat + (images.flatten(1) - flat @ matrix.T) @ matrix + shift
    found = [
        operator.analyse(images, bias, rectified=rectified),
        operator.step(codes, images, bias, rectified=rectified),
        operator.step(codes.clone(), images, bias, rectified=rectified, last=True),
    ]
    assert torch.equal(codes.flatten(1), flat)
    for result, expected in zip(found, (first, second, second), strict=True):
        expected = expected.clamp_min(0) if rectified else expected
        torch.testing.assert_close(result.flatten(1), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("last", [False, True])
def test_the_own_derivatives_of_both_orders_are_those_of_finite_differences(
    layout: Layout, rectified: bool, last: bool
) -> None:
    operator, image_size = make(layout)
    torch.manual_seed(1)
    images = torch.randn(2, layout[0], *image_size, dtype=torch.float64)
    codes = torch.randn_like(operator.analyse(images))
    bias = torch.randn(layout[1], dtype=torch.float64)
    inputs = [each.requires_grad_() for each in (codes, images, operator.weight.clone(), bias)]

    def step(codes: Tensor, images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        placed = ConvOperator(weight, *operator.place)
        return placed.step(codes, images, bias, rectified=rectified, last=last)

    def analysis(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return ConvOperator(weight, *operator.place).analyse(images, bias, rectified=rectified)

    def synthesis(codes: Tensor, weight: Tensor) -> Tensor:
        return ConvOperator(weight, *operator.place).synthesize(codes, image_size)

    for function, given in ((step, inputs), (analysis, inputs[1:]), (synthesis, inputs[::2])):
        assert torch.autograd.gradcheck(function, given, fast_mode=True)
        assert torch.autograd.gradgradcheck(function, given, fast_mode=True)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("formats", [*product((torch.contiguous_format, torch.channels_last), repeat=2)])
def test_in_float32_values_and_gradients_are_those_of_convolutions_in_float64(
    layout: Layout, formats: tuple[torch.memory_format, torch.memory_format]
) -> None:
    operator, image_size = make(layout)
    torch.manual_seed(1)
    images = torch.randn(4, layout[0], *image_size)
    codes = torch.randn(F.conv2d(images.double(), operator.weight, None, *operator.place).shape)
    bias = torch.randn(1).expand(layout[1])  # as a threshold of all atoms is
    weights = torch.rand_like(codes)
    found: list[Tensor] = []
    expected: list[Tensor] = []
    for results, dtype, last in ((found, torch.float32, formats), (expected, torch.float64, None)):
        leaves = [each.to(dtype).clone() for each in (codes, images, operator.weight, bias)]
        if last:
            for index in range(3):
                leaves[index] = leaves[index].contiguous(memory_format=last[index % 2])
        leaves = [each.requires_grad_() for each in leaves]
        z, x, w, b = leaves
        b = b[:1].expand(layout[1])
        placed = ConvOperator(w, *operator.place)
        if last:
            with torch.no_grad():
                results += [placed.step(z.clone(), x, b, rectified=True, last=True)]
            moved, first = placed.step(z, x, b, rectified=True), placed.analyse(x, b)
        else:
            error = x - F.conv_transpose2d(z, w, None, *operator.place[:2], _missing(layout, z), 1, operator.dilation)
            moved, first = z + F.conv2d(error, w, b, *operator.place), F.conv2d(x, w, b, *operator.place)
            moved = moved * (found[0] > 0)  # where rounding decides, as the other decided
            results += [moved.detach()]
        results += [moved, first, *torch.autograd.grad((weights * (moved + first)).sum(), leaves)]
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).abs().max() < 5e-6 * theirs.abs().max()


def _missing(layout: Layout, codes: Tensor) -> list[int]:
    _, _, kernel, stride, padding, dilation, size = layout
    return [
        size[i] - ((codes.shape[2 + i] - 1) * stride[i] - 2 * padding[i] + dilation[i] * (kernel[i] - 1) + 1)
        for i in (0, 1)
    ]


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("where", ["images", "weight", "bias"])
def test_what_is_no_number_stays_none(where: str, grad: bool) -> None:
    values = {"images": torch.rand(2, 3, 8, 8), "weight": torch.rand(16, 3, 3, 3), "bias": torch.rand(16)}
    values[where].view(-1)[0] = torch.nan
    operator = ConvOperator(values["weight"].requires_grad_(grad), padding=(1, 1))
    first = operator.analyse(values["images"], values["bias"], rectified=True)
    assert first.isnan().any()
    moved = operator.step(torch.ones_like(first), values["images"], values["bias"], rectified=True, last=True)
    assert moved.isnan().any()


def test_tensors_that_only_trace_and_functions_of_one_image_take_the_plain_form() -> None:
    operator = ConvOperator(torch.rand(16, 3, 3, 3), padding=(1, 1))
    images = torch.rand(2, 3, 8, 8)

    def code(images: Tensor) -> Tensor:
        first = operator.analyse(images, rectified=True)
        return operator.step(first, images, None, rectified=True, last=True)

    alone = torch.func.vmap(lambda image: code(image[None])[0])(images)
    torch.testing.assert_close(alone, code(images))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert code(mode.from_tensor(images)).shape == (2, 16, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert code(images).dtype == torch.bfloat16


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_power_iteration_finds_the_largest_eigenvalue_and_its_vector(
    layout: Layout, form: str, dense_matrix: DenseMatrix
) -> None:
    operator, image_size = make(layout, form == "mirrored", seed=1)
    matrix = dense_matrix(operator, image_size)
    exact = torch.linalg.matrix_norm(matrix, 2) ** 2
    found, vector = operator.largest_eigenvalue(operator.cold_start(image_size), 2000, vector_tolerance=1e-7)
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=0)
    product = matrix @ (matrix.T @ vector.flatten())
    torch.testing.assert_close(product, exact * vector.flatten(), rtol=0, atol=1e-3 * float(exact))


@pytest.mark.parametrize("tolerance", [{}, {"vector_tolerance": 0.01}, {"value_tolerance": 0.01}])
def test_each_tolerance_stops_the_iteration_early_below_the_eigenvalue(tolerance: dict[str, float]) -> None:
    operator, image_size = make(LAYOUTS[1])
    exact = float(torch.linalg.matrix_norm(operator.as_matrix(image_size), 2) ** 2)
    start = operator.cold_start(image_size)
    steps = [operator.largest_eigenvalue(start, count, **tolerance)[0].item() for count in (1, 2, 100, 200)]
    assert steps[0] < steps[1] <= steps[2] <= steps[3] <= exact * (1 + 1e-12)
    assert (steps[2] < steps[3]) == (not tolerance)
    assert steps[3] > 0.8 * exact


@pytest.mark.parametrize("tolerance", [{}, {"vector_tolerance": 0.01}, {"value_tolerance": 0.01}])
def test_atoms_of_zero_have_the_eigenvalue_zero_and_keep_the_start(tolerance: dict[str, float]) -> None:
    operator = ConvOperator(torch.zeros(2, 1, 3, 3), padding=(1, 1))
    start = operator.cold_start((5, 5))
    found, vector = operator.largest_eigenvalue(start, 3, **tolerance)
    assert found == 0
    assert torch.equal(vector, start / start.norm())
