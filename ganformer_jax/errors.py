"""The one exception that is meant for the person at the keyboard."""


class UserError(Exception):
    """A mistake the user can mend: a one-line message, shown without a traceback.

    The message says what is wrong and, where there is one, what to do instead.
    """
