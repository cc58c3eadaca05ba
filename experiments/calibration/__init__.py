"""Calibration: full thoughts, recorded and replayed at every threshold and budget; the profile made of them."""
