"""Simulation of a service in virtual time: the real loop and policies, a recorded model, a profiled machine."""
