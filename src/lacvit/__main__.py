"""``python -m lacvit``, which is the command ``lacvit`` too."""

import sys


def main() -> None:
    """Run a command and exit, without a traceback if Ctrl-C comes before there is one to run."""
    try:
        from lacvit.cli.main import main as run
    except KeyboardInterrupt:
        print("lacvit: interrupted", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
