"""The serving loop, where a policy meets an engine: who is served, when a thought is asked, and when it is closed."""
