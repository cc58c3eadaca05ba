"""A synthetic 7B reasoner on an RTX 4090: made from published figures, not measured, for simulated experiments."""
