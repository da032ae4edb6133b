"""``python -m lacvit``."""

from lacvit.cli.main import main

main()
