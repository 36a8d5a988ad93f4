"""Structured linear layers, one file each: the stem is the name, the class its CamelCase."""
