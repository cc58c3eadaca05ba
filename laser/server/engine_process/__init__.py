"""The engine in a process of its own: what crosses, who runs the loop there, and who starts it again."""
