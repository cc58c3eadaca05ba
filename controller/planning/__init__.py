"""Plans for the load: the joint program, the policy map, and the price bisection for when no solver answers."""
