"""Models and their files: chat models, thinking formats, profiles, the bundled reasoner, a strict YAML reader."""
