"""Evaluation: asks questions through the engine, and computes the effect of early exit from the answers."""
