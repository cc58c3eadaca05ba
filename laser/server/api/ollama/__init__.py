"""Ollama's API: chats and prompts, replies whole or as lines of JSON, and what is told of models."""
