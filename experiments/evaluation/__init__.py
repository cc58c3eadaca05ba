"""Questions asked through the engine, and what the answers tell of early exit."""
