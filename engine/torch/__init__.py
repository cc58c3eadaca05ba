"""The engine in torch: continuous batching on any machine."""
