"""What to do about the load: the joint program, the policy map, and what stands in where a solver fails."""
