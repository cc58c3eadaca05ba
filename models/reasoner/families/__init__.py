"""The five families of questions, one module each: `draw(rng, size)` makes a question, its answer and its thoughts."""
