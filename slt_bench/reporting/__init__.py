"""Records -> tables and figures. Import order, from the bottom up:

``outcomes`` looks up the records behind each row; ``published`` and ``summary`` turn them into one
DataFrame with every number; ``columns`` and ``tables`` say how numbers are printed and which table
shows what; ``pages`` adds where they come from; ``figures`` and ``rendering`` write the files.
``latency`` is the page of a device's times: ``trained`` and ``joined`` put rows of training beside
them, ``latency_figures`` draws them. ``speed`` is the page of ways compared, with ``sizes``, how
layers compare as they grow.
"""
