"""The tasks: one file each, found by its name; files that start with an underscore are helpers."""
