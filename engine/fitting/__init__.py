"""What memory a model takes, what memory there is, and the context and batch that fit."""
