"""Policies that decide when to probe and when to close a thought, and the serving loop that applies them."""
