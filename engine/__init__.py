"""Mechanism: decodes, probes, forks and stops sequences. It never decides when."""
