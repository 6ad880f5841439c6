"""DoRA: LoRA on the direction of each weight, and its magnitude apart (Liu et al. 2024, arXiv:2402.09353)."""

from nlptk.strategies.lora import Lora


class Dora(Lora):
    """LoRA with a trained magnitude for every output."""

    name = "dora"
    summary = "LoRA that also trains each weight's magnitude; often better at small ranks, slower to train"
    use_dora = True
