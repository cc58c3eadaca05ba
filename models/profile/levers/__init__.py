"""Levers beside threshold and budget: the switch that answers prompts at once, and what is certified of ladders."""
