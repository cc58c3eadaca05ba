"""Measurements of a model through the engine."""
