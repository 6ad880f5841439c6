"""What a method makes of a recipe, and what does not go together with it."""

from __future__ import annotations

from typing import Any

from nlptk import registry
from nlptk.errors import RecipeError, UnsupportedError
from nlptk.fewshot.contract import Method
from nlptk.fewshot.methods import make_method
from nlptk.parts.cloze import check_output_layer
from nlptk.recipe import Recipe
from nlptk.training.identity import SHAPING
from nlptk.training.preparation import Prepared


def settled(recipe: Recipe, where: str) -> Recipe:
    """The recipe with what the method decides of it."""
    method, meta = recipe.task["method"], recipe.task["meta"]
    made = make_method_of(recipe)
    if method["name"] == "cloze" and method["tuning"] == "few" and recipe.strategy["name"] == "full":
        options = registry.get_strategy("lora").Options().model_dump(mode="json")
        recipe = recipe.model_copy(update={"strategy": {"name": "lora", **options}})
    if made.needs_meta and meta is None:
        raise RecipeError(
            f"{where}: task.meta: missing; {method['name']} learns its start from rows of other classes: give "
            "task.meta.train=FILE (and task.meta.validation=FILE)"
        )
    if meta is not None and made.trains != "meta":
        raise RecipeError(f"{where}: task.meta: method {method['name']} does not meta-train; leave task.meta out")
    if recipe.early_stopping is not None and (meta is None or meta["validation"] is None):
        raise RecipeError(
            f"{where}: early_stopping: watches the validation classes of meta-training; give "
            "task.meta.validation=FILE, or leave it out"
        )
    strangers = [key for key in ("out_of_scope", "out_of_scope_test") if recipe.task[key] is not None]
    if strangers and recipe.task["rejection"] == "off":
        raise RecipeError(
            f"{where}: task.{strangers[0]}: is for rejection; set task.rejection=tuned too, or leave it out"
        )
    if recipe.packing is True:
        raise RecipeError(f"{where}: packing: few-shot methods make batches of their own; leave it out")
    adapters = registry.get_strategy(recipe.strategy["name"]).lr_kind == "adapter"
    if made.needs_meta and recipe.strategy["name"] != "full" and not adapters:
        raise RecipeError(
            f"{where}: strategy: {recipe.strategy['name']}: the inner steps of method {method['name']} move adapters, "
            "or nothing of the encoder; use lora, dora or ia3, or leave strategy out"
        )
    if recipe.strategy["name"] != "full" and not trains(recipe):
        raise RecipeError(
            f"{where}: strategy: {recipe.strategy['name']}: with method {method['name']} the encoder stays as it is"
            f"{' without task.meta' if made.trains == 'meta' and not made.needs_meta else ''}; leave strategy out"
        )
    return recipe.model_copy(update={"data": recipe.data.whole()})


def unused(recipe: Recipe) -> list[str]:
    """A warning of settings of a training that there is none of."""
    given = [f"training.{key}" for key in (*SHAPING, "num_train_epochs", "max_steps") if key in recipe.training]
    if trains(recipe) or not given:
        return []
    name = recipe.task["method"]["name"]
    without = " without task.meta" if make_method_of(recipe).trains == "meta" else ""
    return [f"{', '.join(given)}: not used, for method {name} trains nothing{without}"]


def make_method_of(recipe: Recipe) -> Method:
    """The method that a recipe names."""
    options = {key: value for key, value in recipe.task.items() if key != "name"}
    settings: Any = registry.get_task(recipe.task["name"]).Options.model_validate(options)
    return make_method(settings.method)


def trains(recipe: Recipe) -> bool:
    """Whether anything of the encoder or of a start is trained, so that a strategy says what."""
    kind = make_method_of(recipe).trains
    return kind == "support" or (kind == "meta" and recipe.task["meta"] is not None)


def check_head(prepared: Prepared, method: Method, where: str) -> None:
    """Refuse a checkpoint without the output layer that a method reads and never trains, or with one that does not make
    the logits alone. Raises: UnsupportedError."""
    if method.reads_head and method.trains == "nothing" and (new := prepared.loaded.new):
        raise UnsupportedError(
            f"{where}: task.method.tuning: none, and the checkpoint has no {new[0]}, which would stay random: give a "
            "checkpoint with its language model's output layer, or tuning=full"
        )
    if method.reads_head:
        check_output_layer(prepared.model)
