"""An account of risk: what was saved in calm is spent in bursts, and the average stays within its bound."""
