"""The items of OpenAI's responses: what a request says in them, and the tools that it offers."""
