"""``python -m asr`` is the ``asr`` command."""

from asr.cli.main import main

main()
