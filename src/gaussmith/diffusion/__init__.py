"""Diffusion mathematics shared by every prior: noise levels and samplers (schedule), score distillation (distill)."""
