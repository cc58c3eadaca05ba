"""Tools in requests and replies: what a client offers and demands, calls of earlier turns, calls in a reply."""
