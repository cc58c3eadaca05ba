"""What is told of the served model beside its replies, in the words of OpenAI's, Anthropic's and Ollama's clients."""
