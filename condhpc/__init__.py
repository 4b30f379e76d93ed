"""condhpc: what a condensed training set is worth, under fixed rules, on Slurm."""

__version__ = "0.1.0"
