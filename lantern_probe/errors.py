"""The one exception a user is meant to read."""


class LanternError(Exception):
    """Something a user gave cannot be used: the message names the input and the way out.

    Command lines print it as one line and exit with status 2; a run records it for the
    sample concerned and goes on.
    """
