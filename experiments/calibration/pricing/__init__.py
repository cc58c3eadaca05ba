"""The index of running thoughts: fitted on recorded thoughts, tabulated and certified at a ladder of prices."""
