"""Whether the Hugging Face Hub answers, asked once before the libraries try for long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

TIMEOUT_S = 5


def unreachable() -> bool:
    """Whether a request to the Hub fails within `TIMEOUT_S`. False in offline mode, which the libraries honour.

    huggingface_hub itself tries each file six times, waiting 23 s in all, before it gives up.
    """
    from huggingface_hub import constants, get_session
    from huggingface_hub.errors import HfHubHTTPError

    if constants.is_offline_mode():
        return False
    # of httpx, or of httpx2 with later versions of huggingface_hub
    request_error = cast(type[Exception], HfHubHTTPError.__mro__[1])
    try:
        get_session().head(constants.ENDPOINT, timeout=TIMEOUT_S)
    except request_error:
        return True
    return False


def cannot_push() -> str | None:
    """Why nothing can be pushed to the Hub, with the cure, or None."""
    from huggingface_hub import constants, get_token

    if constants.is_offline_mode():
        return "offline mode is on; unset HF_HUB_OFFLINE"
    if get_token() is None:
        return "nobody is logged in; hf auth login, or set HF_TOKEN"
    return "the Hub does not answer; connect to the network" if unreachable() else None


@contextmanager
def data_sets_from_cache() -> Iterator[None]:
    """`datasets` looks in its cache alone, as with HF_DATASETS_OFFLINE=1, which is read only at its import."""
    from datasets import config

    before = config.HF_HUB_OFFLINE
    config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE = before
