"""The next token of a row of logits: what may be sampled, what is drawn, and how likely it was."""
