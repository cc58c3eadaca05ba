"""A 7B reasoner on an RTX 4090 that nobody has measured: made from published figures, for simulated experiments."""
