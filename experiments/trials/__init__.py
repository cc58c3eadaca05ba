"""Experiments: workloads × policies × seeds, run live or simulated, and what they tell."""
