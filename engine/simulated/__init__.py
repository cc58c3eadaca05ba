"""An engine on a virtual clock: its model says what was recorded, its passes take what a profile says."""
