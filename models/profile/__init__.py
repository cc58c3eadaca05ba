"""A model's profile, measured by calibration: operating tables, plant, certificate, difficulty."""
