"""Small pretrained checkpoints by name, such as nlptk/tiny-gpt: those that come with the package lie in `FOLDER`."""

from __future__ import annotations

from pathlib import Path

from nlptk.errors import ArtifactError
from nlptk.nearest import did_you_mean

PREFIX = "nlptk/"
NAMES = ("tiny-bert", "tiny-gpt", "tiny-t5")
FOLDER = Path(__file__).parent / "text" / "checkpoints"


def resolve_checkpoint(checkpoint: str) -> str:
    """The folder of a checkpoint that comes with the package; any other name, or a folder at hand, as it came.

    Raises: ArtifactError for a name of nlptk's that there is not, or that this installation came without.
    """
    if not checkpoint.startswith(PREFIX) or Path(checkpoint).exists():
        return checkpoint
    name = checkpoint.removeprefix(PREFIX)
    if name not in NAMES:
        known = ", ".join(PREFIX + known for known in NAMES)
        raise ArtifactError(f"model: {checkpoint}: no such checkpoint{did_you_mean(name, NAMES)}; known: {known}")
    folder = FOLDER / name
    if not (folder / "config.json").is_file():
        recipe = f"examples/pretrain_{name.replace('-', '_')}.yaml"
        raise ArtifactError(
            f"model: {checkpoint}: this installation comes without it; make it with `nlptk pretrain {recipe}` and give "
            "the folder that it writes"
        )
    return str(folder)
