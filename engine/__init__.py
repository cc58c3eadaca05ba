"""The mechanism: decodes, probes, forks and stops sequences; the caller decides when."""
