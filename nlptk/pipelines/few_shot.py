"""Classes of a few-shot model, added and removed without training; and the pipeline for `transformers.pipeline`.

    loaded = nlptk.pipeline("runs/intents")
    loaded.add_class("refund", ["i want my money back", "refund please"])   # the loaded model knows it from here on
    loaded.remove_class("greeting")

The encoder stays as it is: new examples are embedded, and the head is made anew of the vectors of all examples, which
lie in the artifact. Each call writes a new version in one piece, over the old one unless `output` says where else.
"""

from __future__ import annotations

import logging
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np
from transformers.pipelines.base import Pipeline as TransformersPipeline

from nlptk import artifact
from nlptk.data.normalize import text_key
from nlptk.data.values import half_pair, text_fault
from nlptk.errors import DataError, RecipeError, UnsupportedError
from nlptk.fewshot.contract import Material, Method
from nlptk.fewshot.methods import make_method
from nlptk.fewshot.rejection import SUPPORT_ALONE, THRESHOLD, retuned
from nlptk.nearest import did_you_mean
from nlptk.parts.class_names import class_words
from nlptk.parts.support import Support, save_support
from nlptk.task import LabelSpace

if TYPE_CHECKING:
    from nlptk.pipelines.artifact import Pipeline

logger = logging.getLogger(__name__)
P = ParamSpec("P")
_CHANGING = threading.RLock()
UntypedPipeline: Any = TransformersPipeline  # it declares its parts more narrowly than its own subclasses fill them


def _one_at_a_time(change: Callable[P, Path]) -> Callable[P, Path]:
    """Threads that change models wait for one another: a change begins with what the one before it left."""

    @wraps(change)
    def alone(*args: P.args, **kwargs: P.kwargs) -> Path:
        with _CHANGING:
            return change(*args, **kwargs)

    return alone


@_one_at_a_time
def add_class(
    loaded: Pipeline,
    name: str,
    examples: Iterable[str] = (),
    *,
    words: str | None = None,
    output: str | Path | None = None,
) -> Path:
    """Let a loaded model know one class more. Returns: the folder of the new version.

    examples: one text or more; none will do for a model that counts the words of a class's name as an example
    (`task.class_names`). words: what the name says, for such a model and for one with label words (cloze); default:
    what the recipe says of it, or the name itself with spaces for _ and -. output: its folder; default: in place of the
    one loaded.

    Raises:
        DataError: a class that there is (but for case, Unicode form and spaces around it), no example, one that is no
            text, or one that stands for another class already; words that say nothing, or the same as another class's.
        UnsupportedError: a model of another task. ArtifactError: it cannot be written, or another process changed it
            after it was loaded; nothing has changed then.
    """
    task, support = _few_shot(loaded)
    names = list(task.labels.names)
    if not isinstance(name, str) or not name.strip():
        came = "is empty" if isinstance(name, str) else f"is {type(name).__name__}, not text"
        raise DataError(f"class {name!r}: its name {came}; give one")
    if fault := half_pair(name):
        raise DataError(f"class {name!r}: its name {fault}; it was decoded wrongly, read it anew")
    name = name.strip()
    if alike := [known for known in names if _folded(known) == _folded(name)]:
        raise DataError(f"class {name!r}: is there already{f' as {alike[0]!r}' * (alike[0] != name)}; give another")
    if isinstance(examples, str):
        raise DataError(f"class {name!r}: examples is a text; give a list of texts: [{examples[:30]!r}]")
    if not isinstance(examples, Iterable) or isinstance(examples, bytes | Mapping):
        raise DataError(f"class {name!r}: examples is {type(examples).__name__}; give a list of texts")
    method, own = _named(loaded, names, name, words)
    texts = _checked(list(examples), own, name, support, names)
    vectors = _vectors(loaded, texts, name)
    labels = np.concatenate([support.labels, np.full(len(texts), len(names), dtype=np.int64)])
    everything = np.concatenate([support.vectors, vectors])
    return _renew(loaded, method, [*names, name], (*support.texts, *texts), labels, everything, output=output)


@_one_at_a_time
def remove_class(loaded: Pipeline, name: str, *, output: str | Path | None = None) -> Path:
    """Let a loaded model forget a class and its examples. Returns: the folder of the new version.

    Raises: as `add_class`; DataError for a class that there is not, or where fewer than two would be left.
    """
    task, support = _few_shot(loaded)
    names = list(task.labels.names)
    if name not in names:
        hint = did_you_mean(name, names) if isinstance(name, str) else f", for names are texts: give {str(name)!r}"
        raise DataError(f"class {name!r}: there is none{hint}; there are {names[:20]}")
    if len(names) < 3:
        raise DataError(f"class {name!r}: only one class would be left; add another first")
    place = names.index(name)
    kept = np.flatnonzero(support.labels != place)
    labels = support.labels[kept]
    labels = labels - (labels > place)
    texts = tuple(support.texts[row] for row in kept.tolist())
    method, rest = make_method(task.settings.method), [n for n in names if n != name]
    return _renew(loaded, method, rest, texts, labels, support.vectors[kept], output=output)


def _few_shot(loaded: Pipeline) -> tuple[Any, Support]:
    task: Any = loaded.task
    support = getattr(task, "support", None)
    if not isinstance(support, Support):
        raise UnsupportedError(
            f"{task.name}: its models learn classes by training alone; train one with task=few_shot to add classes"
        )
    return task, support


def _named(loaded: Pipeline, names: list[str], name: str, words: str | None) -> tuple[Method, list[str]]:
    """The method that knows a class more by its name, and the name's words where they count as an example."""
    task, _ = _few_shot(loaded)
    method, given = make_method(task.settings.method), task.settings.class_names
    if words is not None and not (given or method.reads_words):
        raise DataError(f"class {name!r}: words: this model learns from examples alone; leave words out")
    if words is not None and (fault := text_fault(words)):
        raise DataError(f"class {name!r}: words {fault}; give what the name says")
    said = {**(given if isinstance(given, Mapping) else {}), **({name: words} if words else {})}
    method = method.with_class(names, name, words)
    try:
        method.check_names([*names, name], loaded.tokenizer)
        return method, class_words([name], said) if given else []
    except (RecipeError, UnsupportedError) as error:
        raise DataError(
            f"class {name!r}: {error}. For a class that is added, these are words=... (--words on the command line)"
        ) from error


def _checked(examples: list[str], own: list[str], name: str, support: Support, names: list[str]) -> list[str]:
    """The examples and the name's own words, those that are equal once."""
    known = {text_key([text]): names[label] for text, label in zip(support.texts, support.labels, strict=True)}
    found: dict[bytes, str] = {}
    for place, text in enumerate([*examples, *own]):
        if fault := text_fault(text):
            raise DataError(f"class {name!r}: example {place} {fault}; mend it, or leave it out")
        key = text_key([text])
        if key in known:
            own_words = place >= len(examples)
            which = "its name's words" if own_words else f"example {place}"
            cure = "give others (words=..., --words on the command line)" if own_words else "leave it out"
            raise DataError(
                f"class {name!r}: {text[:40]!r}, {which}, stands for {known[key]!r} already; {cure}, or remove that "
                "class first"
            )
        found.setdefault(key, text)
    if not found:
        raise DataError(f"class {name!r}: no examples; give one text or more")
    return list(found.values())


def _folded(name: str) -> str:
    """Names that people would take for the same one are the same so."""
    return unicodedata.normalize("NFKC", name).strip().casefold()


def _vectors(loaded: Pipeline, texts: list[str], name: str) -> np.ndarray:
    """(texts, dim) float32. Says which texts are not read to their end."""
    found = loaded.task.featurize({"text": texts}, loaded.tokenizer, loaded.manifest.preprocessing)
    for row, lost in zip(found["row"], found["lost"], strict=True):
        if lost:
            logger.warning("class %r: %r: its last %d tokens are not read; shorten it", name, texts[row][:40], lost)
    outputs, features = loaded.run(found, rows=len(texts))
    return np.asarray(loaded.task.pool(outputs, features), dtype=np.float32)


def _renew(
    loaded: Pipeline,
    method: Method,
    names: list[str],
    texts: tuple[str, ...],
    labels: np.ndarray,
    vectors: np.ndarray,
    *,
    output: str | Path | None,
) -> Path:
    """Make the head anew, write the new version, and only then let the loaded model be it."""
    task, support = _few_shot(loaded)
    seed = int(loaded.manifest.recipe.get("seed", 0))
    material = Material(vectors, labels, names, loaded.model, loaded.tokenizer, learned=support.learned, seed=seed)
    renewed = Support(texts, labels, vectors, method.head(material), support.learned)
    space = LabelSpace(tuple(names))
    version = int(loaded.manifest.data.get("version", 1)) + 1
    decision = retuned(task.decision, renewed)
    _say_if_stale(decision)
    data = {**loaded.manifest.data, "version": version}
    options = {**loaded.manifest.task["options"], "method": method.options.model_dump(mode="json")}
    kind = {**loaded.manifest.task, "options": options}
    manifest = replace(loaded.manifest, task=kind, labels=space, decision=decision, data=data, metrics={})
    folder = Path(output) if output is not None else loaded.folder
    written = artifact.revise(loaded.folder, folder, manifest, lambda changed: save_support(renewed, changed, names))
    _retire_evaluations(folder)
    loaded.folder, loaded.manifest = folder.resolve(), written  # not read again: by now it may be another process's
    after = copy(task)
    after.labels, after.support, after.decision = space, renewed, decision
    after.options = task.options.model_copy(update={"method": method.options})
    loaded.task = after  # all at once: another thread may be asking
    return folder


def _say_if_stale(decision: Mapping[str, Any]) -> None:
    """Say so where inputs are rejected by a threshold from rows that knew nothing of a class of now."""
    if THRESHOLD in decision and not decision.get(SUPPORT_ALONE):
        logger.warning(
            "task.rejection: the threshold was tuned on held-out rows before this change, and stays; measure it with "
            "nlptk evaluate --out-of-scope, or train again with rows of all classes"
        )


def _retire_evaluations(folder: Path) -> None:
    """Move aside what was measured of the version before, where it lies beside the model."""
    if folder.name == "model" and folder.parent.joinpath(artifact.EVALUATIONS).exists():
        artifact.set_aside(folder.parent / artifact.EVALUATIONS)


class FewShotClassificationPipeline(UntypedPipeline):  # type: ignore[misc]  # see UntypedPipeline
    """`transformers.pipeline("few-shot-classification", model=FOLDER)`: texts in, nlptk's predictions out.

    A text gives one prediction, a list of texts a list of them; anything else that can be iterated over gives an
    iterator. batch_size: rows of a forward pass, here or in each call. Keys: `label` (None where the input is
    rejected), `score`, `scores`, `nearest`, `truncated`.

    Raises: ArtifactError for a folder that is no few-shot model of nlptk; UnsupportedError for other arguments.
    """

    model: Any
    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = True

    def __init__(self, *args: Any, **kwargs: Any):  # as transformers calls it
        from nlptk.pipelines.artifact import pipeline

        super().__init__(*args, **kwargs)
        self._loaded = pipeline(self.model.name_or_path, batch_size=self._batch_size or 64, device=self.device)
        _few_shot(self._loaded)
        self.model = self._loaded.model  # the one that was loaded to find the folder is not needed twice

    def __call__(
        self, inputs: str | Iterable[str], *, batch_size: int | None = None, **kwargs: Any
    ) -> dict[str, Any] | list[dict[str, Any]] | Iterator[dict[str, Any]]:
        from nlptk.pipelines.artifact import check_batch_size

        self._sanitize_parameters(**kwargs)
        loaded = copy(self._loaded)
        if batch_size is not None:
            check_batch_size(batch_size)
            loaded.batch_size = batch_size
        if isinstance(inputs, str | Mapping | list | tuple):
            found: dict[str, Any] | list[dict[str, Any]] = loaded(inputs)
            return found
        return loaded.stream(inputs)

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if kwargs:
            raise UnsupportedError(f"few-shot-classification: takes no {', '.join(kwargs)}; its artifact says it all")
        return {}, {}, {}

    def preprocess(self, inputs: Any) -> Any:
        return inputs

    def _forward(self, inputs: Any) -> Any:
        return self._loaded(inputs)

    def postprocess(self, outputs: Any) -> Any:
        return outputs


def register() -> None:
    """Enter `few-shot-classification` into transformers' registry; the class of the model is what its config names."""
    from transformers import pipelines

    entry = {"impl": FewShotClassificationPipeline, "pt": (), "default": {}, "type": "text"}
    pipelines.PIPELINE_REGISTRY.supported_tasks["few-shot-classification"] = entry
