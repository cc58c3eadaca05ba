"""Fields of requests that say how tokens are drawn and how many replies are made, and log-probabilities in replies."""
