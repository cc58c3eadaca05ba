"""A service in virtual time: the real loop and policies, a recorded model, a machine that a profile describes."""
