"""GGUF files: written from a model directory."""
