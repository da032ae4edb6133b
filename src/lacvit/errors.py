"""What can end a command, by who can mend it.

Messages say what is wrong, the value got, the values allowed, and what to do.
Faults of our own are plain exceptions: they end in a traceback, as they should.
"""

import textwrap


class LacvitError(Exception):
    """Base of every fault that lacvit raises on purpose."""


class InputError(LacvitError):
    """The user can mend it: data, a setting, a path, a checkpoint. The command exits with 2."""


class Diverged(InputError):
    """Training with these settings left the finite numbers; milder ones are needed."""


class RunStopped(BaseException):
    """Nobody has to mend it: Ctrl-C or SIGTERM came, and the message says how to go on.

    It may be raised anywhere. Like KeyboardInterrupt it is no ``Exception``, so that no handler
    takes it for a fault of a file or of a library.
    """


class PeerStopped(LacvitError):
    """Nobody has to mend it here: another process of the same run stopped, and says why itself."""


def first_line(error: BaseException) -> str:
    """What another library says of a fault, as part of a sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def in_one_line(error: BaseException) -> str:
    """What a library says of a file's content, as part of a sentence.

    Of all that pydantic finds, the first fault, and how many more there are.
    """
    from pydantic import ValidationError  # here, as `lacvit --help` does without it

    if isinstance(error, ValidationError):
        first, *others = error.errors()
        where = ".".join(map(str, first["loc"]))
        said = f"{where}: {first['msg']}" if where else first["msg"]
        return f"{said} ({len(others)} more)" if others else said
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return textwrap.shorten(str(error), 200, placeholder=" ...").rstrip(".")
