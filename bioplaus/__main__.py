"""`python -m bioplaus` is `bioplaus`."""

from bioplaus.cli import main

try:
    main(prog_name="bioplaus")
finally:
    # where Ctrl-C came within an exec() of source, as some imports of torch do, `python -m` ends
    # by SIGINT whatever status is asked for, unless another exec() has ended well since
    exec("")
