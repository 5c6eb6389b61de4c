"""Why a run is to stop before its end: a value that whoever cancels its task leaves for the run's border to read."""

from __future__ import annotations

from dataclasses import dataclass

from pbs.model import Ending, Outcome

SENDS_THE_REST = "nothing that was admitted is touched; the next run sends what is missing"


@dataclass(slots=True)
class Halt:
    """The reason, and the run that it is about; the first one counts."""

    run: str | None = None
    ending: Ending | None = None

    def because(self, run: str, ending: Ending) -> bool:
        """Give the reason; False where there is one already."""
        if self.ending is not None:
            return False
        self.run, self.ending = run, ending
        return True

    def read(self) -> Ending:
        """How the run ends; where nobody gave a reason, our process is being ended."""
        return self.ending or stopped()

    def clear(self) -> None:
        """What it was about is over, and something else goes on."""
        self.run = self.ending = None


def cancelled(by: str | None) -> Ending:
    """Somebody asked for it."""
    return Ending(Outcome.CANCELLED, f"cancelled by {by or 'somebody'}", SENDS_THE_REST)


def stopped() -> Ending:
    """The service is being stopped."""
    return Ending(
        Outcome.INTERRUPTED,
        "the service was stopped while the run went on",
        "the next run sends what is missing",
    )
