"""What is known of the world: thinking formats, the bundled reasoner, and the strict reader of their files."""
