"""ExLlamaV2 behind the engine protocol, for NVIDIA GPUs."""
