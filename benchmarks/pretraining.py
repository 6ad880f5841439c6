"""Pretraining throughput: nlptk's training step against transformers' own, in one process, on the same blocks.

    python benchmarks/pretraining.py --text ../shared/data/corpora/novels.txt.gz --steps 8 --rounds 3

For each family (tiny size, 256 tokens a block) two contenders take optimizer steps on the same text:

    plain   the model's own loss over all positions, as run_mlm, run_clm and T5's examples have it; for BERT
            DataCollatorForLanguageModeling does the masking
    nlptk   an objective of nlptk.text: a masked model's head is run on the hidden tokens alone

Figures are tokens of text a second of processor time, which other processes on the machine bend less than wall time.
Ratios are taken within a round and printed as median and range. Choose a recipe's `max_steps` by the nlptk column.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping

import torch
import transformers
from torch.nn.functional import cross_entropy
from torch.utils.data import default_collate
from transformers import DataCollatorForLanguageModeling, PreTrainedModel

from nlptk.checkpoints import quiet
from nlptk.text.documents import find_corpus
from nlptk.text.objectives import make_objective
from nlptk.text.recipe import Family, ObjectiveSettings
from nlptk.text.sizes import make_config
from nlptk.text.token_store import TRAIN, tokenize_corpus
from nlptk.text.tokenizer_training import train_tokenizer
from nlptk.text.windows import Windows

FAMILIES: dict[Family, str] = {
    "bert": "AutoModelForMaskedLM",
    "gpt2": "AutoModelForCausalLM",
    "t5": "AutoModelForSeq2SeqLM",
}
BLOCK = 256
DOCUMENTS = 4000
Batch = Mapping[str, torch.Tensor]


def speed(model: PreTrainedModel, loss: Callable[[Batch], torch.Tensor], batches: list[Batch], tokens: int) -> float:
    """Tokens a second of processor time over all batches but the first, which warms up."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    model.train()
    started = 0.0
    for number, batch in enumerate(batches):
        if number == 1:
            started = time.process_time()
        torch.autograd.backward(loss(batch))
        optimizer.step()
        optimizer.zero_grad()
    return tokens * (len(batches) - 1) / (time.process_time() - started)


def contest(family: Family, args: argparse.Namespace) -> list[tuple[float, float]]:
    """(plain, nlptk) tokens a second, one pair a round."""
    corpus = find_corpus(args.text, max_documents=DOCUMENTS)
    tokenizer = train_tokenizer(corpus.documents, family=family, vocab_size=args.vocab_size).tokenizer
    objective = make_objective(FAMILIES[family], tokenizer, ObjectiveSettings(), BLOCK)
    tokens = tokenize_corpus(corpus, tokenizer, separator=objective.separator, held_out=None)[TRAIN]
    windows = Windows(tokens, objective, seed=0)
    config = make_config(family, "tiny", tokenizer, positions=BLOCK, fields={})
    starts = range(0, (args.steps + 1) * args.batch, args.batch)
    examples = [[windows[row % len(windows)] for row in range(first, first + args.batch)] for first in starts]
    batches: list[Batch] = [default_collate(rows) for rows in examples]
    found = []
    for _ in range(args.rounds):
        with quiet():
            model: PreTrainedModel = getattr(transformers, FAMILIES[family]).from_config(config)

        def plain_loss(batch: Batch, model: PreTrainedModel = model) -> torch.Tensor:
            loss: torch.Tensor = model(**batch).loss
            return loss

        def own_loss(batch: Batch, model: PreTrainedModel = model) -> torch.Tensor:
            return cross_entropy(objective.logits(model, batch).flatten(0, 1), batch["labels"].flatten())

        plain = speed(model, plain_loss, plain_batches(family, batches, tokenizer), 1)
        own = speed(model, own_loss, batches, 1)
        size = args.batch * objective.stride
        found.append((plain * size, own * size))
    return found


def plain_batches(family: Family, batches: list[Batch], tokenizer: transformers.PreTrainedTokenizerBase) -> list[Batch]:
    """The same blocks as transformers' own examples would have them."""
    if family == "bert":
        collator = DataCollatorForLanguageModeling(tokenizer)
        return [collator([{"input_ids": row} for row in batch["input_ids"].tolist()]) for batch in batches]
    if family == "gpt2":
        return [{"input_ids": batch["input_ids"], "labels": batch["input_ids"]} for batch in batches]
    return [{"input_ids": batch["input_ids"], "labels": batch["labels"]} for batch in batches]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", required=True)
    parser.add_argument("--vocab-size", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.manual_seed(0)
    print(
        f"{torch.get_num_threads()} threads; tokens of text a second of processor time, median of {args.rounds} rounds"
    )
    for family in FAMILIES:
        found = contest(family, args)
        ratios = sorted(own / plain for plain, own in found)
        plain, own = (statistics.median(column) for column in zip(*found, strict=True))
        spread = f"{statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]"
        print(f"{family:<5} plain {plain:>8,.0f}   nlptk {own:>8,.0f}   nlptk / plain {spread}", flush=True)


if __name__ == "__main__":
    main()
