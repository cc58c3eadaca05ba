"""Tool calls: how families of models write them, read from a reply as it comes, asked for in prompts, as grammars."""
