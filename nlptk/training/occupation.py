"""One run an output folder: two at once would overwrite each other's checkpoints."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import Timeout

from nlptk.artifact import held
from nlptk.errors import RecipeError

LOCK = ".nlptk.lock"


@contextmanager
def sole_run(output: Path, *, where: str) -> Iterator[None]:
    """Hold the folder for this run; of a distributed run, its first process does.

    What a killed run left half-written is removed, and so are the lock file and, where the run fails before it has
    written anything, the folders made for it. Raises: RecipeError where another run holds the folder.
    """
    if int(os.environ.get("RANK", "0")) != 0:
        yield
        return
    made = [place for place in (output, *output.absolute().parents) if not place.exists()]
    with ExitStack() as stack:
        stack.callback(_remove_empty, made)
        try:
            output.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(output / LOCK))
        except Timeout:
            raise RecipeError(
                f"{where}: output: another run is writing into {output}; wait for it or give another output"
            ) from None
        except OSError as error:
            raise RecipeError(f"{where}: output: {output} cannot be written: {error.strerror or error}") from error
        for half in output.glob(".checkpoint-*.partial"):
            shutil.rmtree(half, ignore_errors=True)
        yield


def _remove_empty(made: list[Path]) -> None:
    """Remove those of the folders, the innermost first, that hold nothing but empty folders."""
    inside = [Path(place) for place, *_ in os.walk(made[0], topdown=False)] if made else []
    for folder in dict.fromkeys([*inside, *made]):
        with suppress(OSError):  # it holds something
            folder.rmdir()
