"""One run an output folder: two at once would overwrite each other's checkpoints."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from nlptk.errors import RecipeError

LOCK = ".nlptk.lock"


@contextmanager
def sole_run(output: Path, *, where: str) -> Iterator[None]:
    """Hold the folder for this run; of a distributed run, its first process does.

    The lock is the kernel's, so that it ends with its process however that ends, and a file left behind locks nothing.
    What a killed run left half-written is removed. Raises: RecipeError where another run holds the folder.
    """
    if int(os.environ.get("RANK", "0")) != 0:
        yield
        return
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock = FileLock(str(output / LOCK))
        lock.acquire(timeout=0)
    except Timeout:
        raise RecipeError(
            f"{where}: output: another run is writing into {output}; wait for it or give another output"
        ) from None
    except OSError as error:
        raise RecipeError(f"{where}: output: {output} cannot be written: {error.strerror or error}") from error
    try:
        for half in output.glob(".checkpoint-*.partial"):
            shutil.rmtree(half, ignore_errors=True)
        yield
    finally:
        lock.release()
