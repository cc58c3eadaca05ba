"""The four families of problems, one module each: `draw(rng, operations)` makes a question with its steps."""
