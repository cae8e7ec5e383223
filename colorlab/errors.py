"""The one exception whose message is meant for the person at the keyboard."""


class UserError(Exception):
    """Something the user asked for cannot be done; the message says what was wrong and what to do.

    Commands print the message alone and exit with code 2: no traceback.
    """
