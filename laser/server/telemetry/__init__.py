"""Telemetry for operators: metrics, the log, traces."""
