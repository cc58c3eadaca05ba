"""Chats as prompt tokens: a tokenizer's control tokens, the chat template, and what the rendered prompt ends in."""
