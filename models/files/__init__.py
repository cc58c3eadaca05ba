"""File helpers: YAML and JSON that are read strictly, files that are watched or replaced whole, checks of settings."""
