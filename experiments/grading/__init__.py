"""Grades answers: the exact comparison first, math-verify behind it, in a process that may be killed."""
