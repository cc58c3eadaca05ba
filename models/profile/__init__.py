"""What calibration measured of a model, in one file: operating tables, plant, certificate, difficulty."""
