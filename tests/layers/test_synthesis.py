import pytest
import torch
import torch.nn.functional as F

from robustcsc.layers.synthesis import fixed_pattern, power_iteration, synthesize

#: Filter size, stride, padding, dilation, image size.
FORMS = [
    (3, 1, 1, 1, (7, 6)),
    (3, 1, 2, 2, (9, 8)),
    (3, 1, 3, 3, (10, 10)),
    (3, 1, 0, 1, (6, 5)),
    (1, 1, 0, 1, (4, 4)),
    (1, 1, 1, 1, (4, 4)),  # padding that the mirrored convolution cannot undo
    (4, 2, 1, 1, (8, 8)),
    (4, 2, 1, 1, (9, 7)),
    (3, 2, 1, 2, (10, 11)),
]


@pytest.mark.parametrize(("size", "stride", "padding", "dilation", "image"), FORMS)
def test_synthesis_is_the_adjoint_of_the_convolution(
    size: int, stride: int, padding: int, dilation: int, image: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    weight, images = torch.randn(5, 3, size, size).double(), torch.randn(2, 3, *image).double()
    analysed = F.conv2d(images, weight, None, stride, padding, dilation)
    codes = torch.randn_like(analysed)
    result = synthesize(codes, weight, image, stride=stride, padding=padding, dilation=dilation)
    assert result.shape == images.shape
    products = (analysed * codes).sum(), (images * result).sum()
    assert abs(products[0] - products[1]) <= 1e-12 * analysed.norm() * codes.norm()


@pytest.mark.parametrize(("size", "stride", "padding", "dilation", "image"), FORMS)
def test_the_power_iteration_finds_the_largest_eigenvalue_of_the_dense_matrix(
    size: int, stride: int, padding: int, dilation: int, image: tuple[int, int]
) -> None:
    torch.manual_seed(1)
    weight = torch.randn(5, 2, size, size).double()
    basis = torch.eye(2 * image[0] * image[1]).double().view(-1, 2, *image)
    matrix = F.conv2d(basis, weight, None, stride, padding, dilation).flatten(1)  # A*, one image in each row
    exact = torch.linalg.matrix_norm(matrix, 2) ** 2
    start = fixed_pattern(2, image).double()
    found, image_found = power_iteration(weight, start, 2000, stride=stride, padding=padding, dilation=dilation)
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=0)
    product = matrix @ (matrix.T @ image_found.flatten())
    torch.testing.assert_close(product, exact * image_found.flatten(), rtol=0, atol=1e-3 * float(exact))


def test_filters_of_zero_have_the_eigenvalue_zero() -> None:
    found, image = power_iteration(torch.zeros(2, 1, 3, 3), fixed_pattern(1, (5, 5)), 3, padding=1)
    assert found == 0
    assert image.norm() == pytest.approx(1)
