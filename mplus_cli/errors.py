"""Everything that can go wrong for a person, as one tree.

MplusError (1)
├── UsageError (2)            the command line or a setting makes no sense
├── NotFound (3)              library, document, page or passage
├── Unreadable (4)            an input file that cannot be read, or holds no text
├── NotEnoughSpace (5)        memory or disk
├── ModelMissing (6)          weights absent, incomplete, of the wrong kind, or with a wrong checksum
├── LibraryLocked (7)         another process is writing
├── LibraryDamaged (8)        damaged, written by a newer mplus, or by another model
├── Abstained (9)             only with --strict
└── Interrupted (130)         Ctrl-C; what was committed is kept

The message says what happened in one line; `remedy` says what to do about it.
"""

TERMINATED = 143  # the exit code of what SIGTERM ended


class MplusError(Exception):
    """Root of all errors that are shown to a person as one line and a remedy."""

    exit_code = 1
    remedy = "Run the command again with --debug and report what it prints."

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if remedy is not None:
            self.remedy = remedy


class UsageError(MplusError):
    """The command line or a setting makes no sense."""

    exit_code = 2
    remedy = "See the command's --help."


class NotFound(MplusError):
    """A library, document, page or passage that does not exist."""

    exit_code = 3
    remedy = "`mplus library list` and `mplus docs list` show what there is."


class Unreadable(MplusError):
    """An input file that cannot be read, or that holds no text."""

    exit_code = 4
    remedy = "Convert the file to EPUB, PDF with a text layer, HTML, Markdown or plain text."


class NotEnoughSpace(MplusError):
    """Not enough memory or disk for what was asked."""

    exit_code = 5
    remedy = "Free some space, or see `mplus plan` for what is needed."


class ModelMissing(MplusError):
    """Model weights that are absent, incomplete, of the wrong kind, or damaged."""

    exit_code = 6
    remedy = "`mplus model list` shows the models at hand; `mplus model pull` fetches one."


class LibraryLocked(MplusError):
    """Another process is writing to the library."""

    exit_code = 7
    remedy = "Wait until the other mplus has finished; reading is possible meanwhile."


class LibraryDamaged(MplusError):
    """A library that is damaged, written by a newer mplus, or by another model."""

    exit_code = 8
    remedy = "`mplus library verify` names what is damaged and how to mend it."


class Abstained(MplusError):
    """Nothing recalled supports an answer, and --strict asked to say so."""

    exit_code = 9
    remedy = "Ask without --strict to see the nearest passages."


class Interrupted(MplusError):
    """Ctrl-C; what was committed is kept."""

    exit_code = 130
    remedy = "Run the same command again to go on where it stopped."


def interrupted(remedy: str = "") -> Interrupted:
    """Ctrl-C anywhere but in work that can be gone on with, which names its remedy."""
    return Interrupted("Interrupted.", remedy)
