"""``python -m cirbench``: the same as the ``cirbench`` command."""

from .cli import main

main(prog_name="cirbench")
