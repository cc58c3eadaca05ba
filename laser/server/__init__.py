"""The server: HTTP in, the serving loop on a thread of its own, replies and a dashboard out."""
