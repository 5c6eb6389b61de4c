"""The one error tree. Every error says what failed, whether trying again can help, and what to do.

    PbsError
    ├── UsageError            the command's words are off
    ├── ConfigError           pbs.toml or sources.d say something impossible (all faults together)
    ├── HomeError             the home is missing, not writable, full, or a path in it is too long
    ├── NotFound              no such source, run or snapshot
    ├── RunOver               what should be stopped has ended already
    ├── TooMany               there is no room for one more just now
    ├── ServiceDown           a verb needs the service and it does not answer
    │   └── ServiceStopping   it is just being stopped
    ├── LedgerError
    │   ├── LeaseHeld         somebody living already works on this source
    │   ├── LeaseLost         this run was ended by somebody else meanwhile
    │   └── SchemaMismatch    the ledger was written by another version
    ├── ToolError             a program failed, is missing, too old, or took too long
    │   ├── ToolMissing
    │   ├── ToolTimeout
    │   ├── TooMuch           a program printed more than anybody wants to hold
    │   └── ResticError
    │       ├── RepositoryMissing
    │       ├── RepositoryLocked
    │       └── WrongPassword
    ├── RepositoryReplaced    what lies there is not the repository that the ledger knows
    ├── EndpointError         the append-only door of a source does not come up
    ├── TunnelError
    │   ├── Unreachable
    │   ├── HostKeyMismatch   the source answers with another key than the pinned one
    │   ├── LoginRefused
    │   ├── AgentMissing
    │   ├── AgentRefused      the source's profile says no
    │   ├── AgentBusy
    │   └── TunnelBroken      the connection or the agent ended before its time
    ├── AdmissionRefused      what arrived is not what was promised
    │   └── CutOff            the source took, or sent, more than it may in one run
    ├── NoRoom                the disk is too full for anything to be added
    ├── MessageLost           a channel took no message
    ├── RetentionHeld         nothing may be removed before a person has looked
    └── RestoreError

This module never decides what happens next: `exit_code` and `outcome` are data that one switch reads.
"""

from __future__ import annotations

from pbs.model import Outcome


class PbsError(Exception):
    """What failed (one sentence), and in `hint` what to do about it."""

    code = "failed"
    exit_code = 1
    outcome = Outcome.FAILED
    retryable = False
    http_status = 500

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(PbsError):
    """The caller asked for something that makes no sense."""

    code = "usage"
    exit_code = 2
    http_status = 400


class ConfigError(PbsError):
    """The configuration is wrong; `faults` lists every fault as one line each."""

    code = "configuration"
    exit_code = 2
    http_status = 409

    def __init__(self, message: str, hint: str | None = None, faults: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.faults = faults


class HomeError(PbsError):
    """The home is missing, not writable, full, or one of its paths is too long."""

    code = "home"
    exit_code = 2
    http_status = 507


class KeysLocked(HomeError):
    """The keys folder is sealed, and nobody has opened it."""

    code = "keys-locked"


class NotFound(PbsError):
    """No such source, run or snapshot."""

    code = "not_found"
    exit_code = 7
    http_status = 404


class RunOver(PbsError):
    """A run that should be stopped has ended already."""

    code = "run_over"
    exit_code = 2
    http_status = 409


class TooMany(PbsError):
    """There is no room for one more just now."""

    code = "too_many"
    retryable = True
    http_status = 429


class ServiceDown(PbsError):
    """The service of this home is not running."""

    code = "service_down"
    exit_code = 6
    http_status = 503


class ServiceStopping(ServiceDown):
    """The service of this home is just being stopped: a run that notices ends with it."""

    outcome = Outcome.INTERRUPTED


class LedgerError(PbsError):
    """The ledger could not be read or written."""

    code = "ledger"
    retryable = True


class LeaseHeld(LedgerError):
    """Somebody living already works on this source."""

    code = "lease_held"
    exit_code = 4
    http_status = 409


class LeaseLost(LedgerError):
    """This run was ended by somebody else meanwhile; nothing more may be written for it."""

    code = "lease_lost"
    outcome = Outcome.INTERRUPTED


class SchemaMismatch(LedgerError):
    """The ledger was written by another version of the program."""

    code = "schema"
    exit_code = 2
    retryable = False


class ToolError(PbsError):
    """A program failed."""

    code = "tool"


class ToolMissing(ToolError):
    """A program is missing or too old."""

    code = "tool_missing"


class ToolTimeout(ToolError):
    """A program took longer than it was given."""

    code = "tool_timeout"
    retryable = True


class TooMuch(ToolError):
    """A program printed more than its caller can hold."""

    code = "too_much"
    http_status = 422


class ResticError(ToolError):
    """restic failed; `status` is its exit code."""

    code = "restic"

    def __init__(self, message: str, hint: str | None = None, status: int = 1) -> None:
        super().__init__(message, hint)
        self.status = status


class RepositoryMissing(ResticError):
    """There is no repository where one should be."""

    code = "repository_missing"
    outcome = Outcome.REFUSED


class RepositoryLocked(ResticError):
    """Somebody else holds the repository."""

    code = "repository_locked"
    retryable = True


class WrongPassword(ResticError):
    """The key that is kept here does not open the repository."""

    code = "wrong_password"


class RepositoryReplaced(PbsError):
    """What lies in the repository's folder is not the repository that the ledger knows."""

    code = "repository_replaced"
    outcome = Outcome.REFUSED


class EndpointError(PbsError):
    """The append-only door of a source does not come up."""

    code = "endpoint"
    retryable = True


class TunnelError(PbsError):
    """The connection to a source failed."""

    code = "tunnel"
    retryable = True


class Unreachable(TunnelError):
    """Nobody answers at the source's address."""

    code = "unreachable"


class HostKeyMismatch(TunnelError):
    """The source answers with another host key than the pinned one."""

    code = "host_key"
    exit_code = 4
    outcome = Outcome.REFUSED
    retryable = False


class LoginRefused(TunnelError):
    """The source's sshd does not accept our key for this user."""

    code = "login_refused"
    retryable = False


class AgentMissing(TunnelError):
    """The login works but no agent answers there, or it lacks its tools."""

    code = "agent_missing"
    retryable = False


class AgentRefused(TunnelError):
    """The agent or its profile says no."""

    code = "agent_refused"
    exit_code = 4
    outcome = Outcome.REFUSED
    retryable = False


class AgentBusy(TunnelError):
    """Another run of the same profile is under way on the source."""

    code = "agent_busy"


class TunnelBroken(TunnelError):
    """The connection or the agent ended before its time."""

    code = "tunnel_broken"


class AdmissionRefused(PbsError):
    """What arrived is not what was promised."""

    code = "admission"
    exit_code = 4
    outcome = Outcome.REFUSED


class CutOff(AdmissionRefused):
    """The source was cut off from its endpoint: it took, or sent, more than it may in one run."""

    code = "cut_off"


class NoRoom(PbsError):
    """The disk is too full for anything to be added."""

    code = "no_room"
    retryable = True
    http_status = 507


class RetentionHeld(PbsError):
    """Nothing may be removed before a person has looked, or before a good pull."""

    code = "retention"
    exit_code = 4
    outcome = Outcome.REFUSED
    http_status = 409


class MessageLost(PbsError):
    """A channel took no message."""

    code = "message"
    retryable = True
    http_status = 502


class RestoreError(PbsError):
    """Something could not be restored or mounted."""

    code = "restore"
