"""The kind of answer that a request wants, as its fields and its words tell it."""
