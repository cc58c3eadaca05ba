"""GGUF files as models: their metadata, tokenizer and formats."""
