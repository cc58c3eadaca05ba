"""Figures of an analysis: one PNG file for each question, with the answer in its title."""
