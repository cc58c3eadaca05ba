"""Kinds of answers: which kind a request wants, told from what it says or by a small classifier."""
