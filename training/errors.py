"""Errors that end the command with one message instead of a traceback."""


class TrainingError(RuntimeError):
    """Something the user can act on; ``str(error)`` is the whole message."""


class DataNotFound(TrainingError):
    """The data of a task are absent; the message says how to get them."""


class RunFolderError(TrainingError):
    """A run folder is in the way, cannot be written, or cannot be read."""


class BrokenData(TrainingError):
    """A data file is truncated, of another format, or holds values that are impossible."""
