"""A cache of the Hugging Face Hub on disk, in its own layout, and no network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"

#: Gives a repository its folder in the cache; files that are written into it are those of its only commit.
Cached = Callable[[str], Path]


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cached:
    hub = pytest.importorskip("huggingface_hub")
    from huggingface_hub import constants, file_download

    cache = tmp_path / "hub"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def repository(name: str) -> Path:
        folder = cache / file_download.repo_folder_name(repo_id=name, repo_type="model")
        (folder / "refs").mkdir(parents=True, exist_ok=True)
        (folder / "refs" / "main").write_text(COMMIT)
        snapshot: Path = folder / "snapshots" / COMMIT
        snapshot.mkdir(parents=True, exist_ok=True)
        assert {it.repo_id for it in hub.scan_cache_dir(cache).repos} >= {name}
        return snapshot

    return repository


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Twelve images of 16x16 pixels in the folders of three classes."""
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    for index, image in enumerate(pixels):
        folder = tmp_path / "images" / "test" / f"class{index % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{index}.png")
    return tmp_path / "images"
