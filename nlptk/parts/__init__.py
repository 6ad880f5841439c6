"""What task files are built of: texts as windows, words, tags, spans, prompts and blocks; writing and embedding."""
