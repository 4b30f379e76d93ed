"""See counting."""

from condhpc_jobs.counting import run as run
