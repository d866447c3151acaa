import numpy as np
import pytest
import torch

from robustcsc.data.images import as_floats, batched_rows, checked_rows
from robustcsc.errors import DataError


def test_every_byte_becomes_the_float_nearest_to_its_255th_part() -> None:
    exact = np.arange(256) / 255
    floats = as_floats(torch.arange(256, dtype=torch.uint8), "cpu")
    assert floats.numpy().tolist() == exact.astype(np.float32).tolist()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_clean_pixels_have_the_same_bits_on_the_gpu() -> None:
    pixels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(as_floats(pixels, "cuda").cpu(), as_floats(pixels, "cpu"))


def test_batches_cut_the_rows_without_loss() -> None:
    assert [rows.tolist() for rows in batched_rows(5, 2, None)] == [[0, 1], [2, 3], [4]]
    assert [rows.tolist() for rows in batched_rows(5, 3, torch.tensor([4, 4, 0, 1]))] == [[4, 4, 0], [1]]
    assert batched_rows(5, 3, torch.tensor([], dtype=torch.int64)) == ()


@pytest.mark.parametrize(
    "rows", [torch.tensor([0, 5]), torch.tensor([-1]), torch.tensor([[0]]), torch.tensor([0.0]), torch.tensor([True])]
)
def test_what_is_not_a_row_of_five_is_refused(rows: torch.Tensor) -> None:
    with pytest.raises(DataError):
        checked_rows(rows, 5)


def test_a_batch_size_of_zero_is_refused() -> None:
    with pytest.raises(DataError, match="at least 1"):
        batched_rows(5, 0, None)
