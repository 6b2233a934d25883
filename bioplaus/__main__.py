"""`python -m bioplaus` is `bioplaus`."""

from bioplaus.cli import main

main(prog_name="bioplaus")
