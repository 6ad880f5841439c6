"""Makes `transformers.pipeline` know the restored tasks."""

from __future__ import annotations

from typing import Any

import transformers
from transformers import pipelines

from nlptk.pipelines.restored.problems import MissingKeyError
from nlptk.pipelines.restored.question_answering import QuestionAnsweringPipeline
from nlptk.pipelines.restored.text2text import Text2TextGenerationPipeline
from nlptk.pipelines.restored.text_tasks import SummarizationPipeline, TranslationPipeline, language_pair

T5_BASE = ("google-t5/t5-base", "a9723ea")
# the models and revisions that 4.57 took where none is named
DEFAULTS: dict[str, dict[Any, Any]] = {
    "question-answering": {"model": ("distilbert/distilbert-base-cased-distilled-squad", "564e9b5")},
    "summarization": {"model": ("sshleifer/distilbart-cnn-12-6", "a4f8f3e")},
    "text2text-generation": {"model": T5_BASE},
    "translation": {("en", target): {"model": T5_BASE} for target in ("fr", "de", "ro")},
}
CLASSES = {
    "question-answering": QuestionAnsweringPipeline,
    "summarization": SummarizationPipeline,
    "text2text-generation": Text2TextGenerationPipeline,
    "translation": TranslationPipeline,
}


def register() -> None:
    """Enter the tasks into transformers' registry, and take them off its list of removed ones.

    Not by `register_pipeline`: it would mark the classes as custom code, and `save_pretrained` would copy that
    code into the folder, to be loaded with `trust_remote_code` alone.
    """
    registry = pipelines.PIPELINE_REGISTRY
    for task, cls in CLASSES.items():
        auto = "AutoModelForQuestionAnswering" if task == "question-answering" else "AutoModelForSeq2SeqLM"
        entry = {"impl": cls, "pt": (getattr(transformers, auto),), "default": DEFAULTS[task], "type": "text"}
        registry.supported_tasks[task] = entry
        pipelines.REMOVED_TASKS.pop(task, None)
    known = registry.check_task

    def check_task(task: str) -> tuple[str, dict[str, Any], Any]:
        if not task.startswith("translation_"):
            found: tuple[str, dict[str, Any], Any] = known(task)
            return found
        pair = language_pair(task)
        if pair is None:
            raise MissingKeyError(f"task {task!r}: not a translation task; expected 'translation_XX_to_YY'")
        return "translation", registry.supported_tasks["translation"], pair

    registry.check_task = check_task  # type: ignore[method-assign]  # the registry has no door for tasks with parameters
