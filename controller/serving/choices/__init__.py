"""Several replies to one request, and how likely their tokens were."""
