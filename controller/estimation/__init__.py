"""Estimates of the present load: filters for arrivals, work and step time."""
