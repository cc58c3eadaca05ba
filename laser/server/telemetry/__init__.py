"""What a server tells of itself to operators: metrics, the log, traces."""
