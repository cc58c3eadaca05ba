"""Exit signals: each tells from a thought's probes whether the thought may be closed."""
