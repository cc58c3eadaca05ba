"""An analysis drawn: one PNG file for each question, its answer in the title."""
