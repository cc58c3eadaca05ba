"""Anthropic's messages API: requests of content blocks, replies whole or as its typed events, its errors."""
