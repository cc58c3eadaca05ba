"""Calibration, evaluation, analysis, simulation and trials of a model."""
