"""Timing that can be trusted: what is measured, the protocol, the noise gate, the statistic.

=====================  =========================================================================
``cell``               one row of a latency table: layer, shape, batch, mode, threads, device
``functions``          what is timed: forward, training, sequence
``check``              the timed output against a float64 reference, before anything is timed
``sampling``           warm-up and samples in one process
``floor``              the fewest bytes and multiply-adds, over measured rates
``memory``             predicted before a shape is tried; the peak, in a pass of its own
``jobs``, ``worker``   a fresh process for each measurement
``noise``, ``gpu``     what other processes took; the state of a GPU
``session``            rounds of paired measurements
``state``              what they have given, on the disk after every round
``rows``               what it becomes, and whether it may be published
``records``            what every record of a cell holds
``estimate``           how long a session takes
``turns``              the other protocol: ways in turns in one process, by processor time
``statistics``         ratios to dense, verdicts, changes, growth with size: pure functions
=====================  =========================================================================
"""
