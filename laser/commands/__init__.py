"""The commands of `laser`, one module each, imported when they are called."""
