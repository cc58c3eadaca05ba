"""The serving loop, which applies a policy to an engine: admits requests, probes thoughts and closes thoughts."""
