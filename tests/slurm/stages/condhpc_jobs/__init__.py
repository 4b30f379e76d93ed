"""Stages that count instead of learning, so that what Slurm does to them is quick to see."""
