"""Thinking formats at work: markers found in text as it comes, thoughts that end, families recognised."""
