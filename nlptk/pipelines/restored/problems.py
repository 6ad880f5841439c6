"""What is wrong with a pipeline's input: nlptk's error, and the built-in one that transformers 4.57 raised there."""

from nlptk.errors import DataError


class InvalidValueError(DataError, ValueError):
    """A value that cannot be used."""


class InvalidTypeError(DataError, TypeError):
    """Something of another type than what was expected."""


class MissingKeyError(DataError, KeyError):
    """A mapping without the key, or a task that does not exist."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError's own would show it in quotes
