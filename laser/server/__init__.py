"""The HTTP server: API, serving loop on its own thread, replies and dashboard."""
