"""Whether a trained reasoner meets the aims that were set before it was measured; and its installation."""
