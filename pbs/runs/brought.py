"""What a run is told of a restore, as a Protocol; the real one is made by the room `restore`. It does nothing."""

from __future__ import annotations

from typing import Protocol


class Restored(Protocol):
    """What a restore did."""

    @property
    def files(self) -> int:
        """Names that were written."""
        ...

    @property
    def bytes(self) -> int:
        """How much."""
        ...

    @property
    def specials(self) -> int:
        """Devices that were left out."""
        ...

    @property
    def failed(self) -> int:
        """Names that could not be written."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """The first of the complaints about them."""
        ...
