"""What the load is now: filters of arrivals, of work and of step time."""
