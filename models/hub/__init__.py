"""Models by name: fetched from a hub into its cache, or found there."""
