"""``python -m streamstop``: the command line where its script is not on the PATH."""

from streamstop.cli import main

main(prog_name="streamstop")
