"""Calibration of races: several sampled thoughts of one prompt, of which one becomes the reply."""
