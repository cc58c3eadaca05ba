"""Grammars that hold an answer to a form: what a request describes, compiled for a model's vocabulary."""
