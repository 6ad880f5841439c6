"""The settings of the few-shot methods, and of the meta-training that some of them have."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from nlptk.task import TaskOptions

MASK, TEXT = "{mask}", "{text}"
TEMPLATE = "{text} This is about {mask}."
Penalty = Annotated[float, Field(gt=0.0)] | Literal["cross_validated"]
PENALTY = "scikit-learn's C, on unit vectors; cross_validated: chosen among 0.1 to 1000"


class LinearProbeOptions(TaskOptions):
    """Frozen features and logistic regression: the baseline that everyone should beat."""

    name: Literal["linear_probe"]
    inverse_penalty: Penalty = Field(1.0, description=PENALTY)


class PrototypicalOptions(TaskOptions):
    """The nearest class mean; with `task.meta`, in a space trained for it (Snell et al. 2017, arXiv:1703.05175)."""

    name: Literal["prototypical"]
    distance: Literal["cosine", "euclidean"] = "cosine"
    scale: float | None = Field(
        None,
        gt=0.0,
        description="Of cosines (default: 10) or of negative squared distances (1, as Snell et al.), under softmax",
    )


class ContrastiveOptions(TaskOptions):
    """Pairs of the support set fine-tune the encoder, then a head (SetFit, Tunstall et al. 2022, arXiv:2209.11055).

    SetFit's loss asks for cosines of 1 and 0; CoSENT's (Su 2022, kexue.fm/archives/8847) for pairs of one class to be
    nearer than those of two, and leaves alone what is: better among many classes.
    """

    name: Literal["contrastive"]
    loss: Literal["cosine_similarity", "cosent"] = Field(
        "cosine_similarity",
        description="sentence-transformers' CosineSimilarityLoss (SetFit's), or CoSENTLoss, for many classes",
    )
    passes: float = Field(20.0, gt=0.0, description="How often each example is embedded, on average")
    inverse_penalty: Penalty = Field(1.0, description=f"Of the head: {PENALTY}")


class GradientOptions(TaskOptions):
    """Meta-learning by gradient steps: a start from which a few of them on a new support set go far.

    maml: Finn et al. 2017, arXiv:1703.03400, with one shared start for all classes (Ye and Chao 2022,
    arXiv:2106.09517) so that any number of them can be learnt; fomaml: its first-order form; anil: only the class
    vectors are adapted (Raghu et al. 2020, arXiv:1909.09157); reptile: Nichol et al. 2018, arXiv:1803.02999.
    """

    name: Literal["maml", "fomaml", "anil", "reptile"]
    inner_steps: int = Field(5, ge=1, description="Gradient steps on a support set in meta-training")
    test_steps: int = Field(10, ge=1, description="Gradient steps on a support set afterwards")
    inner_learning_rate: float = Field(
        0.1, gt=0.0, description="Of these steps; meta-training, but for reptile, goes on to learn it"
    )
    encoder_learning_rate: float = Field(
        0.1, gt=0.0, description="Of these steps for the adapters of strategy lora, dora or ia3; learnt likewise"
    )


class ClozeOptions(TaskOptions):
    """A template with a mask, and words that stand for the labels (Schick and Schuetze 2021, arXiv:2001.07676)."""

    name: Literal["cloze"]
    template: str = Field(TEMPLATE, description="Holds {text} and {mask} once each; of a decoder it ends in {mask}")
    label_words: dict[str, str] | None = Field(
        None, description="Label -> what stands at the mask; default: the label's name, with spaces for _ and -"
    )
    tuning: Literal["none", "few", "full"] = Field(
        "full", description="On the support set: nothing trains, only LoRA's few parameters, or what `strategy` says"
    )

    inverse_penalty: float | None = Field(
        10.0,
        gt=0.0,
        description="scikit-learn's C of how far the examples move the head from the words; null: words alone decide",
    )

    @field_validator("template")
    @classmethod
    def _has_both_places(cls, value: str) -> str:
        for place in (TEXT, MASK):
            if value.count(place) != 1:
                raise ValueError(f"expected {place} in it, once")
        return value


MethodOptions = Annotated[
    LinearProbeOptions | PrototypicalOptions | ContrastiveOptions | GradientOptions | ClozeOptions,
    Field(discriminator="name"),
]
METHODS = ("linear_probe", "prototypical", "contrastive", "maml", "fomaml", "anil", "reptile", "cloze")


class MetaOptions(TaskOptions):
    """Meta-training: rows of other classes, from which small tasks are drawn. A string stands for `train`."""

    train: str = Field(description="Labelled rows of classes to meta-train on")
    validation: str | None = Field(None, description="Labelled rows of other classes, to choose the best model by")
    ways: int = Field(5, ge=2, description="Classes of an episode; in validation as many as there are, at most")
    shots: int = Field(5, ge=1, description="Rows of each to learn from")
    queries: int = Field(5, ge=1, description="Rows of each to be tested on")
    episodes: int = Field(2000, ge=1, description="Drawn in all")
    episodes_per_step: int = Field(4, ge=1, description="Whose gradients are averaged, over all processes together")
    validation_episodes: int = Field(200, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _from_a_path(cls, values: Any) -> Any:
        return {"train": values} if isinstance(values, str) else values
