"""Policy: when to probe, when to close a thought, and the loop where that meets the engine."""
