"""Benchmarks may need a cluster of their own."""

from tests.slurm.conftest import make_cluster as make_cluster
