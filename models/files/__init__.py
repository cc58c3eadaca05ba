"""File helpers: a strict YAML reader, and files that are replaced whole or not at all."""
