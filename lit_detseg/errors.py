"""A mistake of the user: a message is all that is needed to mend it."""


class UserError(ValueError):
    """Something in the data, the configuration or the command line that the user can mend.

    The message says what happened, with the values, and what to do. The command line prints it
    alone, without a traceback, and exits with code 2. Any other exception is a bug of ours.
    """
