"""The classifier of kinds of answers: prompts of our own to learn from, its held-out figures, and a count of exits."""
