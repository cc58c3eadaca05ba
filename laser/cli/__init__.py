"""The command line. A command has a module of its own, which is imported when the command is called."""
