"""What clients say and are told: a module for each API surface, and what the surfaces share."""
