"""What can end a command, by who can mend it.

Messages say what is wrong, the value got, the values allowed, and what to do.
Faults of our own are plain exceptions: they end in a traceback, as they should.
"""


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
