"""Commands about models themselves: writing them in other forms, and what fits."""
