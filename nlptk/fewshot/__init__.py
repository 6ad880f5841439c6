"""Few-shot learning: episodes, methods, meta-training, measuring and comparing."""
