"""Answers that are held to a form while they are decoded."""
