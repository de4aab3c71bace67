"""Errors a user can act on.

Everything raised for bad input, a missing encoder or a full disk is a :class:`CirbenchError`
whose text is one sentence naming what is wrong and what to do. The CLI prints that sentence
and exits non-zero; any other exception is a bug and keeps its traceback.
"""


class CirbenchError(Exception):
    """Bad input or a missing requirement: one clear sentence, no traceback."""


class InputError(CirbenchError):
    """One image that cannot be used, a source or an output: it is left out, the rest goes on."""


class MismatchError(InputError):
    """A bitstream decodes to other pixels here than where it was made."""


class CodecError(CirbenchError):
    """An encoder or decoder failed on one image, or its bitstream is not what was asked for."""


class UnavailableError(CirbenchError):
    """A program, package, device or weight file is not on this machine; says how to get it."""
