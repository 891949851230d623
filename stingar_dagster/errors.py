"""Every error this project raises on purpose, as one tree.

    StingarError
    ├── Terminal                a second try would fail the same way
    │   ├── SettingsError       a setting can't be read or used
    │   ├── UsageError          what a command was asked for can't be done
    │   ├── CaptureNameError    a file in landing does not match the configured name format
    │   ├── StoreDenied         the store refused: permission, credential, container
    │   ├── BrokerDenied        the Kafka broker refused: credential, certificate, topic
    │   └── UnknownFormat       an internal file of a version this release does not know
    └── Transient               a second try may succeed: retries are decided by this type alone
        ├── StoreUnavailable    the store can't be reached, or answers that it is busy
        ├── BrokerUnavailable   no Kafka broker can be reached, or none answers
        ├── NotDelivered        an alert's sink did not take a message
        ├── Conflict            another process replaced the object in between
        └── WorkerDied          a process that shared the work ended before it was done

Each message is one line for a person: what, where, what to do. Not here: damage inside captures
and bodies, which is data (`capture.reader.Damage`, `cleaning.reasons`), never an exception.
"""


class StingarError(Exception):
    """Base of every error raised on purpose; its text is one line for a person."""


class Terminal(StingarError):
    """A second try would fail the same way."""


class Transient(StingarError):
    """A second try may succeed."""


class SettingsError(Terminal):
    """A setting can't be read or used."""


class UsageError(Terminal):
    """What a command was asked for can't be done."""


class CaptureNameError(Terminal):
    """A file in landing does not match the configured capture name format."""


class StoreDenied(Terminal):
    """The store refused the operation: permission, credential or container."""


class BrokerDenied(Terminal):
    """The Kafka broker refused: credential, certificate or topic."""


class UnknownFormat(Terminal):
    """An internal file was written by a release with a newer format."""


class StoreUnavailable(Transient):
    """The store can't be reached, or answers that it is busy."""


class BrokerUnavailable(Transient):
    """No Kafka broker can be reached, or none answers."""


class Conflict(Transient):
    """Another process replaced the object between our read and our write."""


class WorkerDied(Transient):
    """A process that shared the work was killed, or ran out of memory."""
