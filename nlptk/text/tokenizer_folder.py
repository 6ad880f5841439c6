"""A tokenizer from files to a folder: what `nlptk tokenizer train` calls."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nlptk.artifact import flush
from nlptk.errors import ArtifactError
from nlptk.text.documents import find_corpus
from nlptk.text.option_names import Named
from nlptk.text.recipe import Family, Kind
from nlptk.text.tokenizer_training import train_tokenizer


@dataclass(frozen=True)
class TokenizerResult:
    """folder: what transformers' AutoTokenizer loads; tokens: its vocabulary, special tokens included."""

    folder: Path
    tokens: int

    def lines(self) -> list[str]:
        """What the command line says."""
        return [f"{self.tokens:,} tokens", f"tokenizer  {self.folder}"]


def make_tokenizer(
    files: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    family: Family,
    kind: Kind | None = None,
    vocab_size: int = 8000,
    lowercase: bool = False,
    min_frequency: int = 2,
    column: str = "text",
    encoding: str = "utf-8",
    named: Named = str,
) -> TokenizerResult:
    """Train a tokenizer on text files (.txt, .jsonl, each also .gz; globs) and write it as a plain transformers folder.

    See `train_tokenizer` for family, kind and vocab_size. named: what error messages call the settings. The folder
    appears when it is whole.

    Raises: DataError, RecipeError; ArtifactError where `output` is there already.
    """
    place = Path(output).absolute()
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise ArtifactError(f"{output}: exists already; give another output or remove it")
    corpus = find_corpus(files, column=column, encoding=encoding, named=named)
    trained = train_tokenizer(
        corpus.documents,
        family=family,
        kind=kind,
        vocab_size=vocab_size,
        lowercase=lowercase,
        min_frequency=min_frequency,
        named=named,
    )
    place.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{place.name}.new-", dir=place.parent))
    try:
        trained.save(staging)
        flush(staging)
        staging.chmod(0o755)
        staging.rename(place)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return TokenizerResult(Path(output), len(trained.tokenizer))
