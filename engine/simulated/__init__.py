"""An engine on a virtual clock: its model replays given tokens, and its passes take the times of a profile."""
