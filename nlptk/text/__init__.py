"""Text without labels: tokenizers trained from it, and the pretraining of small BERT, GPT and T5 models on it."""
