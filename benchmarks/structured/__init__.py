"""Answers under grammars: random schemas, and whether every answer validates."""
