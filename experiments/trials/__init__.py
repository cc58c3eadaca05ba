"""Experiments: workloads × policies × seeds, run live or simulated, and their findings."""
