"""What the verbs of the command line do: they take plain values and return plain documents."""
