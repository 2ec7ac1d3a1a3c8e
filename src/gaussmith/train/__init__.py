"""Training machinery that recipes share: the optimiser, value schedules and checkpoints."""
