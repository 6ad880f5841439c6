"""Translation: T5, BART, mBART, NLLB and their kin, GPT with a prompt, BERT as the start of an encoder-decoder.

    nlptk train task=translation model=CHECKPOINT data=pairs.csv output=runs/translation

Rows have `source` and `target`, or `translation`: {"en": "...", "de": "..."} with task.source_lang=en
task.target_lang=de.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from nlptk import task
from nlptk.errors import DataError, RecipeError, UnsupportedError
from nlptk.parts.generating import TextToText, text_examples, text_warnings
from nlptk.parts.generation_settings import GenerationOptions, one_place
from nlptk.parts.prompts import Prompt
from nlptk.task import Column, Look, Scores, Section

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel

SHOWN = 20
ROWS_AT_ONCE = 1000
PLACE = "{source}"
T5_LANGUAGES = {"en": "English", "de": "German", "fr": "French", "ro": "Romanian"}
"""What T5 was pretrained to translate between (Raffel et al. 2020, appendix D)."""


class TranslationOptions(GenerationOptions):
    """Settings of the translation task."""

    source_lang: str | None = Field(None, description="Key in `translation`; language of multilingual checkpoints")
    target_lang: str | None = Field(None, description="Key in `translation`; language of multilingual checkpoints")
    prefix: str | None = Field(
        None, description="Encoder-decoders: stands before every source; default: the checkpoint's, or T5's own"
    )
    prompt: str = Field(f"{PLACE}\nTranslation: ", description="Decoders: what the target follows; holds {source}")
    bleu_tokens: Literal["13a", "intl", "zh", "char", "none"] = Field(
        "13a", description="sacrebleu's tokenizer: zh for Chinese, char for Japanese, Thai and the like"
    )
    lowercase: bool = Field(False, description="Whether BLEU and chrF ignore letter case")

    @field_validator("prompt")
    @classmethod
    def _has_one_place(cls, value: str) -> str:
        return one_place(value, PLACE)


class Translation(TextToText):
    """A text in another language."""

    name = "translation"
    summary = "a text in another language"
    pipeline_tag = "translation"
    Options: ClassVar[type[task.TaskOptions]] = TranslationOptions
    columns = (
        Column("source", "text", ("source", "src"), required=False),
        Column("target", "text", ("target", "tgt"), required=False, target=True),
        Column("translation", "json", ("translation",), required=False),
    )
    forms = (("source", "target"), ("translation",))
    headline = ("bleu", "chrf", "chrf++")
    quality = "bleu"
    answer = "translation"
    warm_start = True

    @property
    def settings(self) -> TranslationOptions:
        assert isinstance(self.options, TranslationOptions)
        return self.options

    @classmethod
    def read_row(cls, row: dict[str, Any]) -> dict[str, Any]:
        pair = row.get("translation")
        if pair is not None and not (
            isinstance(pair, dict) and pair and all(text is None or isinstance(text, str) for text in pair.values())
        ):
            raise ValueError(f"translation is {pair!r:.60}; expected texts by language: {{'en': ..., 'de': ...}}")
        return row

    @classmethod
    def look(cls, rows: Mapping[str, list[Any]]) -> Look:
        pairs = [pair or {} for pair in rows.get("translation", [])]
        languages = dict.fromkeys(name for pair in pairs for name in pair)
        return Look(texts={f"translation {name}": [pair.get(name) or "" for pair in pairs] for name in languages})

    def fit(self, train: Dataset) -> None:
        source, target = self.settings.source_lang, self.settings.target_lang
        if source is not None and source == target:
            raise RecipeError(f"task.target_lang: {target!r} is task.source_lang too; give the other language")
        pairs = train["translation"] if "translation" in train.column_names else []
        # every row has the keys of all, with None for what it lacks
        languages: dict[str, Any] = next((pair for pair in pairs if pair), {})
        if languages and not (source and target):
            raise RecipeError(
                "task.source_lang, task.target_lang: missing; the rows have their texts by language: give two of "
                f"{', '.join(languages)}"
            )
        if languages:
            for side in ("source_lang", "target_lang"):
                language = getattr(self.settings, side)
                if not any(name in languages for name in _names(language)):
                    raise RecipeError(
                        f"task.{side}: {language!r}: no row has a text in it; expected one of {', '.join(languages)} "
                        "(where the checkpoint calls the language otherwise, give the rows its names, or columns "
                        "source and target)"
                    )

    def check_rows(self, rows: Dataset, split: str) -> None:
        if "translation" not in rows.column_names:
            return  # whose rows have both texts, or are bad ones
        for role, language in (("source", self.settings.source_lang), ("target", self.settings.target_lang)):
            batches = (_given(batch, role, language) for batch in rows.iter(ROWS_AT_ONCE))
            texts = (text for batch in batches for text in batch)
            if lacking := [place for place, text in enumerate(texts) if not text]:
                first = rows[lacking[0]]
                raise DataError(
                    f"{split}: {first['source_file']}, row {first['source_row']}: no text for {language!r} (rows like "
                    f"it: {len(lacking)} of {len(rows)}); drop them, or give task.source_lang and task.target_lang as "
                    "the rows name them"
                )

    def prepare_model(self, model: PreTrainedModel) -> None:
        if self.settings.language is not None:
            raise RecipeError("task.language: a translation has two; give task.source_lang and task.target_lang")
        if not hasattr(self.tokenizer, "tgt_lang") and self.settings.target_lang in self.tokenizer.all_special_tokens:
            raise UnsupportedError(
                f"task {self.name}: {type(self.tokenizer).__name__} has {self.settings.target_lang} as a token and "
                "cannot write it (prompt_tuning replaces the tokenizer that can); take another strategy, such as lora"
            )
        super().prepare_model(model)
        self.refuse_idle()
        if self.is_decoder:
            return
        source, target = self.settings.source_lang, self.settings.target_lang
        key = f"translation_{source}_to_{target}" if source and target else self.name
        names = [T5_LANGUAGES.get(lang or "", lang) for lang in (source, target)]
        usual = f"translate {names[0]} to {names[1]}: " if model.config.model_type == "t5" and all(names) else ""
        self.settle_prefix(model, key, usual)

    def languages(self) -> dict[str, str | None]:
        return {"source_lang": self.settings.source_lang, "target_lang": self.settings.target_lang}

    def prompts(self, rows: Mapping[str, list[Any]]) -> list[Prompt]:
        before, after = self.settings.prefix or "", ""
        if self.is_decoder:
            before, _, after = self.settings.prompt.partition(PLACE)
        marks = self.has_marks()
        return [Prompt(before, source, after, marks) for source in self.sources(rows)]

    def sources(self, rows: Mapping[str, list[Any]]) -> list[str]:
        """The texts to translate. Raises: DataError where one is missing."""
        texts = _given(rows, "source", self.settings.source_lang)
        if lacking := sum(not text for text in texts):
            raise DataError(
                f"translation: {lacking} of {len(texts)} rows have no text for {self.settings.source_lang!r}, the "
                "language to translate from"
            )
        return [str(text) for text in texts]

    def targets(self, rows: Mapping[str, list[Any]]) -> list[str] | None:
        """None where not every row has one: such rows are only translated (see `check_rows`)."""
        texts = _given(rows, "target", self.settings.target_lang)
        return [str(text) for text in texts] if all(texts) else None

    def score(
        self, pooled: Sequence[Any], rows: Dataset, *, bootstrap: int = 0, sections: bool = False, seed: int = 0
    ) -> Scores:
        from nlptk.metrics import translation_figures

        roles = _roles(rows)
        references = self.targets(roles)
        assert references is not None
        tokens, lowercase = self.settings.bleu_tokens, self.settings.lowercase
        figures = translation_figures(
            pooled, references, tokenize=tokens, lowercase=lowercase, bootstrap=bootstrap, seed=seed
        )
        parts = self._sections(pooled, references, roles, rows) if sections else []
        return Scores(figures, parts, [*text_warnings(pooled, references), *self._unspaced(references)])

    def _unspaced(self, references: Sequence[str]) -> list[str]:
        from nlptk.metrics import MOSTLY, share_of_letters

        if self.settings.bleu_tokens in ("zh", "char") or share_of_letters(references, "unspaced") < MOSTLY:
            return []
        return [
            f"BLEU with bleu_tokens={self.settings.bleu_tokens} parts words at spaces, which the references do "
            "without: give task.bleu_tokens=zh (Chinese) or char, or go by chrF"
        ]

    def _sections(
        self, pooled: Sequence[str], references: Sequence[str], roles: Mapping[str, list[Any]], rows: Dataset
    ) -> list[Section]:
        import numpy as np

        from nlptk.metrics import chrf_scores, translation_signatures
        from nlptk.report import sections

        scores = chrf_scores(pooled, references, lowercase=self.settings.lowercase)
        sources = self.sources(roles)
        columns: dict[str, Sequence[Any]] = {
            "source": sources,
            "reference": references,
            "translation": pooled,
            "chrf": scores.tolist(),
        }
        signatures = translation_signatures(
            references, tokenize=self.settings.bleu_tokens, lowercase=self.settings.lowercase
        )
        lowest = np.argsort(scores, kind="stable")[:SHOWN].tolist()
        longest = np.argsort([-len(text) for text in sources], kind="stable")[:SHOWN].tolist()
        return [
            sections.facts("How BLEU and chrF were computed", signatures, note="sacrebleu's signatures."),
            text_examples("Lowest chrF", columns, rows, lowest),
            text_examples("Longest sources", columns, rows, longest),
        ]


def _names(language: str | None) -> tuple[str, str]:
    """What rows may call a language: `en_XX` is `en` too."""
    return language or "", (language or "").partition("_")[0]


def _roles(rows: Dataset) -> dict[str, list[Any]]:
    return {role: rows[role][:] for role in ("source", "target", "translation") if role in rows.column_names}


def _given(rows: Mapping[str, list[Any]], role: str, language: str | None) -> list[str | None]:
    """The text that each row has in its column, or else under the language; None for none."""
    count = len(next(iter(rows.values())))
    nothing = [None] * count
    pairs = zip(rows.get(role, nothing), rows.get("translation", nothing), strict=True)
    return [text or next((by[name] for name in _names(language) if _said(by, name)), None) for text, by in pairs]


def _said(texts: Mapping[str, Any] | None, name: str) -> bool:
    """Whether a row has a text in a language that is not of white space alone."""
    found = texts.get(name) if texts else None
    return bool(found and not str(found).isspace())


if __name__ == "__main__":
    from nlptk.__main__ import train_task

    train_task(Translation.name)
