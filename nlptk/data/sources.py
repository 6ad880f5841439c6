"""From what a recipe says (file, list, glob, folder, `save_to_disk` folder, Hub name) to sources of rows."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlptk import hub
from nlptk.data.cache import file_digest, key_of
from nlptk.data.rows import Source
from nlptk.data.text_files import KNOWN, Format, format_of, known_format
from nlptk.errors import DataError
from nlptk.nearest import did_you_mean
from nlptk.recipe import DataSettings

if TYPE_CHECKING:
    from datasets import Dataset

Sources = list[Source]
Given = Sources | float | None
"""Where a held-out split comes from: its own sources, a fraction of the training rows, or nowhere."""

SPLITS = ("train", "validation", "test")
_PREFIXES = {"train": ("train",), "validation": ("validation", "valid", "dev", "val"), "test": ("test",)}
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
AUTOMATIC_FRACTION = 0.1


def find_splits(settings: DataSettings) -> dict[str, Given]:
    """The sources of train, and of validation and test as the recipe says or as the source itself offers.

    Raises:
        DataError: a file, folder, split or data set that is not there or cannot be told.
    """
    if settings.train is None:
        raise DataError("data.train is not set; give a file, a folder or a Hub data set")
    offered = _offered(settings.train, settings)
    if not offered.get("train"):
        raise DataError(
            f"data.train={settings.train}: no training rows in it; it has {', '.join(offered) or 'nothing'}"
        )
    found: dict[str, Given] = {"train": offered["train"]}
    given = {"validation": settings.validation, "test": settings.test}
    for split, value in given.items():
        if value == "none":
            found[split] = None
        elif value is None:
            found[split] = offered.get(split) or _automatic(split, given)
        elif isinstance(value, float):
            found[split] = value
        else:
            found[split] = _own_split(split, value, settings)
    fractions = [value for value in found.values() if isinstance(value, float)]
    if sum(fractions) >= 1.0:
        raise DataError(f"data.validation and data.test: fractions {fractions} leave no training rows; lower them")
    return found


def _automatic(split: str, given: Mapping[str, Any]) -> float | None:
    """A tenth of train for validation unless it is given; for test only where neither is."""
    other = given["test" if split == "validation" else "validation"]
    return AUTOMATIC_FRACTION if split == "validation" or other is None else None


def _own_split(split: str, value: str | list[str], settings: DataSettings) -> Sources:
    offered = _offered(value, settings)
    sources = offered.get(split) or (offered.get("train") if len(offered) == 1 else None)
    if not sources:
        raise DataError(f"data.{split}={value}: no {split} split in it; it has {', '.join(offered) or 'nothing'}")
    return sources


def find_sources(value: str | list[str], settings: DataSettings) -> Sources:
    """All sources behind one value, whatever split their names speak of (for prediction)."""
    offered = _offered(value, settings)
    if len(offered) > 1:
        raise DataError(f"{value}: holds the splits {', '.join(offered)}; give one file")
    return next(iter(offered.values()))


def _offered(value: str | list[str], settings: DataSettings) -> dict[str, Sources]:
    """Split name -> sources. What has no splits of its own is offered as `train`."""
    if isinstance(value, list):
        if not value:
            raise DataError("data: an empty list of files; give at least one")
        return {"train": _files([path for item in value for path in _matching(item, settings.format)], settings.format)}
    path = Path(value).expanduser()
    if path.is_dir():
        return _from_folder(path, value, settings.format)
    if path.exists():
        return {"train": _files([path], settings.format)}
    if is_hub_name(value):
        return _from_hub(value, settings)
    return {"train": _files(_matching(value, settings.format), settings.format)}


def is_hub_name(value: str) -> bool:
    """Whether what a recipe gives can only be the name of a data set on the Hub: there is no such path."""
    path = Path(value).expanduser()
    named = _HUB_NAME.fullmatch(value) and format_of(path) is None and not value.lower().endswith(".gz")
    return bool(named) and value != "none" and not path.exists()


def _matching(item: str, kind: Format | None) -> list[Path]:
    path = Path(item).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        return _data_files(path, kind)
    if glob.has_magic(item):
        matches = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
        files = [match for match in matches if match.is_file()]
        if not files:
            raise DataError(f"{item}: no file matches; the pattern is taken from {Path.cwd()}")
        return files
    raise DataError(f"{item}: file not found{_near(path)}; paths are taken from {Path.cwd()}")


def _near(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f" ({folder} is no folder)"
    return did_you_mean(path.name, (entry.name for entry in folder.iterdir()))


def _files(paths: Sequence[Path], kind: Format | None) -> Sources:
    """kind: what all of them hold; by default what their extensions say."""
    kinds = {kind or known_format(path): path for path in paths}
    if len(kinds) > 1:
        came = ", ".join(f"{path.name} ({kind})" for kind, path in kinds.items())
        raise DataError(f"{paths[0].parent}: files of different kinds: {came}; give files of one kind")
    twice = {path for path in paths if sum(path.resolve() == other.resolve() for other in paths) > 1}
    if twice:
        raise DataError(f"{min(twice)}: given twice; give every file once")
    return [Source(name=str(path), path=path, kind=next(iter(kinds))) for path in paths]


def _data_files(folder: Path, kind: Format | None) -> list[Path]:
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    files = [entry for entry in entries if entry.is_file() and (kind or format_of(entry))]
    if not files:
        raise DataError(f"{folder}: no data file in this folder; expected files ending in {KNOWN}, or set data.format")
    return files


def _from_folder(folder: Path, name: str, kind: Format | None) -> dict[str, Sources]:
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return _from_disk(folder, name)
    files = _data_files(folder, kind)
    by_split = {split: [f for f in files if f.name.lower().startswith(_PREFIXES[split])] for split in SPLITS}
    if not by_split["train"]:
        by_split["train"] = [file for file in files if file not in by_split["validation"] + by_split["test"]]
    return {split: _files(found, kind) for split, found in by_split.items() if found}


def _from_disk(folder: Path, name: str) -> dict[str, Sources]:
    import pyarrow as pa
    from datasets import Dataset, load_from_disk

    try:
        loaded = load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise DataError(f"{name}: not a whole save_to_disk folder ({error}); save it again") from error
    parts = {"train": loaded} if isinstance(loaded, Dataset) else dict(loaded)
    root = {split: folder if isinstance(loaded, Dataset) else folder / split for split in parts}
    keys = {split: [file_digest(file) for file in sorted(root[split].iterdir()) if file.is_file()] for split in parts}
    return _by_split({split: (part, key_of("disk", keys[split])) for split, part in parts.items()}, name)


def _by_split(parts: Mapping[str, tuple[Dataset, str]], name: str) -> dict[str, Sources]:
    found: dict[str, Sources] = {}
    for split in SPLITS:
        for part in (p for p in _PREFIXES[split] if p in parts and split not in found):
            label = name if len(parts) == 1 else f"{name}[{part}]"
            found[split] = [Source(name=label, dataset=parts[part][0], fingerprint=parts[part][1])]
    if not found:
        raise DataError(f"{name}: its splits are {', '.join(parts)}; expected train, validation or test among them")
    return found


def _from_hub(name: str, settings: DataSettings) -> dict[str, Sources]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HfHubHTTPError

    here = f"{name}: no such file or folder{_near(Path(name))}"
    silent = hub.unreachable()
    try:
        with hub.data_sets_from_cache() if silent else nullcontext():
            loaded = load_dataset(name, settings.config, revision=settings.revision)
    except ConnectionError as error:
        why = "the Hub does not answer" if silent else f"the Hub cannot be asked ({_first_line(error)})"
        raise DataError(
            f"{here}; {why}, and no data set of that name is in the cache; correct the path, or connect to the network"
        ) from error
    except (DatasetsError, FileNotFoundError) as error:
        cure = "correct the path or the name; a private data set needs a login (hf auth login)"
        raise DataError(f"{here}, and the Hub has no such data set: {_first_line(error)}; {cure}") from error
    except (ValueError, RuntimeError, HfHubHTTPError, OSError) as error:
        cure = "check data.config and data.revision"
        raise DataError(f"{name}: the Hub data set cannot be loaded: {_first_line(error)}; {cure}") from error
    parts = {str(split): (part, key_of("hub", part._fingerprint)) for split, part in loaded.items()}
    return _by_split(parts, name)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
