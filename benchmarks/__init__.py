"""What the engine is held to, measured: `python -m benchmarks.engine` and `python -m benchmarks.soak`."""
