"""Density control: which Gaussians to add and which to drop. One file a strategy; ops.py holds what they share."""
