"""The error for wrong input: one clear message, no traceback."""


class UserError(Exception):
    """Wrong input from the user, or a file that cannot be read or written.

    The message is one or a few lines: what is wrong, where, and what to do. The command line prints it after
    ``error:`` and exits with code 2.
    """
