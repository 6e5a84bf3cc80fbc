"""The error that is the user's to mend: one clear message, no traceback."""


class UserError(Exception):
    """Something in the user's input is wrong.

    The message is one or a few lines that say what is wrong, where, and what to do. The command line prints
    it after ``error:`` and exits with code 2.
    """
