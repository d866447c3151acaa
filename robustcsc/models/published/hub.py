"""Files of the Hugging Face Hub: from its local cache if they are there, else fetched. Nothing here needs PyTorch."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robustcsc.errors import ModelError
from robustcsc.models.published.names import Published

#: Weights of a run of this package, and those of the other libraries.
RUN_WEIGHTS, WEIGHTS = "weights.safetensors", "model.safetensors"


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps what huggingface_hub logs of each attempt off the terminal: a failure is one sentence at the end."""
    from huggingface_hub.utils.logging import get_verbosity, set_verbosity

    verbosity = get_verbosity()
    set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        set_verbosity(verbosity)


def reach(model: Published) -> None:
    """Refuses a repository of which the cache has nothing if it cannot be had.

    Raises:
        ModelError: As for `file`.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        snapshot_download(model.name, revision=model.weights or None, local_files_only=True)
    except LocalEntryNotFoundError:
        file(model, WEIGHTS)


def file(model: Published, name: str) -> Path | None:
    """Returns a file of a repository, or ``None`` if the repository has no such file.

    What the cache of the Hub has is taken without asking the network, so a measurement can be repeated offline and
    does not change when the repository does; ``@REVISION`` names another state of it. ``HF_HUB_OFFLINE``, ``HF_HOME``
    and ``HF_TOKEN`` mean what they mean everywhere.

    Raises:
        ModelError: There is no such repository or revision, it is not for everybody, or the Hub cannot be reached and
            the cache does not have the file.
    """
    from huggingface_hub import hf_hub_download, hf_hub_url
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    revision = model.weights or None
    try:
        return Path(hf_hub_download(model.name, name, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        with quiet():
            _reach_hub(hf_hub_url(model.name, name, revision=revision))
            return Path(hf_hub_download(model.name, name, revision=revision))
    except (LocalEntryNotFoundError, _Unreachable) as error:
        raise ModelError(
            f"{model} is not in the cache of the Hub, which is offline or cannot be reached: connect and unset "
            f"HF_HUB_OFFLINE, or fetch it elsewhere with: hf download {model.name}."
        ) from error
    except EntryNotFoundError:
        return None
    except RevisionNotFoundError as error:
        raise ModelError(f"{model}: the repository {model.name} has no revision {revision!r}.") from error
    except GatedRepoError as error:
        raise ModelError(f"{model} asks for consent: give it on its page, and log in with: hf auth login.") from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"The Hub has no repository {model.name}, or it is private: check the name, or log in with: hf auth login."
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ModelError(f"{model} cannot be fetched from the Hub ({' '.join(str(error).split())}).") from error


class _Unreachable(Exception):
    """The Hub does not answer."""


def _reach_hub(url: str) -> None:
    """Asks the Hub for a file once; a download would ask six times, with waits of 23 seconds between.

    ``HF_HUB_ETAG_TIMEOUT``, the seconds that huggingface_hub waits for an answer, holds here, too; 3 if it is not set.
    """
    from huggingface_hub import constants, get_hf_file_metadata
    from huggingface_hub.errors import HfHubHTTPError

    patience = constants.HF_HUB_ETAG_TIMEOUT if "HF_HUB_ETAG_TIMEOUT" in os.environ else 3
    try:
        get_hf_file_metadata(url, timeout=patience)
    except HfHubHTTPError:  # an answer, which the download tells
        return
    except Exception as error:  # those of whichever library connects
        raise _Unreachable from error


def needed_file(model: Published, name: str) -> Path:
    """Returns a file that a repository must have.

    Raises:
        ModelError: It has none, or as for `file`.
    """
    found = file(model, name)
    if found is None:
        raise ModelError(
            f"{model} has no {name}, and nothing but safetensors is read from the Hub: choose another repository or "
            "revision, or load the file with --weights."
        )
    return found


def description(model: Published) -> dict[str, Any]:
    """Returns ``config.json`` of a repository; empty for a run of this package.

    Raises:
        ModelError: It is neither, or as for `file`.
    """
    try:
        path = file(model, "config.json")
    except ModelError:
        if _run_in_cache(model):
            return {}
        raise
    if path is None:
        if file(model, RUN_WEIGHTS) is None:
            raise ModelError(
                f"{model} has no config.json, and is no run of this package: name the network with --model and the "
                f"repository with --weights hf:{model.name}."
            )
        return {}
    return json_of(model, "config.json")


def json_of(model: Published, name: str) -> dict[str, Any]:
    """Returns what a JSON file of a repository holds; nothing if there is none.

    Raises:
        ModelError: It is damaged, or as for `file`.
    """
    path = file(model, name)
    try:
        content = {} if path is None else json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ModelError(f"{model} has a {name} that is no JSON: choose another repository.") from error
    return content if isinstance(content, dict) else {}


def _run_in_cache(model: Published) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(model.name, RUN_WEIGHTS, revision=model.weights or None), str)
