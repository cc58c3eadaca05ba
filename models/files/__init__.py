"""Files of every kind: strict YAML, and files that are replaced whole or not at all."""
