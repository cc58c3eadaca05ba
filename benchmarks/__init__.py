"""Benchmarks of engine, server, controller and simulator; each runs as `python -m benchmarks.NAME`."""
