"""The keys of a GGUF file's metadata that LASER has of its own."""

THINKING = "laser.thinking"  # the text of the model's laser.yaml
GENERATION = "laser.generation_config"  # the text of its generation_config.json, with the end tokens of config.json
