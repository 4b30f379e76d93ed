"""`python -m condhpc`."""

from condhpc.cli import main

main(prog_name="condhpc")
