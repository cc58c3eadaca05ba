"""Calibration: records full thoughts, replays them at every threshold and budget, and makes the profile."""
