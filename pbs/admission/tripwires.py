"""Whether a run looks like an intruder's work: pure, from what arrived against what was there and what is usual.

A wire trips on what its threshold names, unless most of the last runs of this source were such: what happens every time
is how this source works. It proves nothing, and a patient intruder stays below every threshold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from statistics import median
from typing import Any

from pbs.model import Tripwires
from pbs.text import size

# So many runs are what is usual; so many before them are remembered, for what goes on slowly.
USUAL_RUNS, REMEMBERED_RUNS = 10, 40
# It goes on slowly where so many of the newest runs look alike, and not those before; so much smaller may each of them be.
ALIKE_RUNS, LEAST_EARLIER, SMALLER = 8, 3, 10
# What packs no worse than this, in per cent, packs well: only then is it strange when nothing packs any more.
PACKS_WELL = 90
# New data has taken the place of the old where so many per cent of the files, or of the bytes, are not what they were.
REPLACED_FILES, REPLACED_BYTES = 10, 25


@dataclass(frozen=True, slots=True)
class Measured:
    """What was counted of one run, all of it here.

    Attributes:
        files: How many files the snapshot before held; 0 = there was none.
        changed: How many of them have other content now.
        vanished: How many of them are gone, and their content with them.
        bytes: What the new snapshot holds.
        new: Bytes of content that arrived in this run.
        packed: What these take in the packs.
        dense: So much of that does not pack.
    """

    files: int = 0
    changed: int = 0
    vanished: int = 0
    bytes: int = 0
    new: int = 0
    packed: int = 0
    dense: int = 0

    def share(self, wire: str, wires: Tripwires) -> float | None:
        """How far the run went towards this wire, in per cent; None where it is too small to say."""
        match wire:
            case "changed" | "vanished" if self.files >= wires.least_files:
                return 100 * (self.changed if wire == "changed" else self.vanished) / self.files
            case "new" if self.bytes and self.new >= wires.least_bytes:
                return min(100.0, 100 * self.new / self.bytes)
            case "encrypted" if self.new and self.new >= wires.least_bytes:
                return 100 * self.packed / self.new
            case "dense" if self.packed and self.new >= wires.least_bytes:
                return 100 * self.dense / self.packed
        return None

    @property
    def replaced(self) -> bool:
        """Whether what is new stands in the place of what was there."""
        files = 100 * (self.changed + self.vanished) >= REPLACED_FILES * self.files > 0
        return files or 100 * self.new >= REPLACED_BYTES * self.bytes > 0


def remembered(detail: Mapping[str, Any]) -> Measured:
    """What was written down of a run; whatever is missing is 0, and where nothing said what packs, all was as it is."""
    detail = {"dense": detail.get("packed"), **detail}
    return Measured(**{each.name: int(detail.get(each.name) or 0) for each in fields(Measured)})


def to_remember(measured: Measured) -> dict[str, object]:
    """What is written down of a run."""
    return asdict(measured)


def tripped(wires: Tripwires, now: Measured, before: Sequence[Measured]) -> list[str]:
    """The wires that this run trips, each in words; `before` are the runs before it, newest first."""
    if not now.files:
        return []
    found = list(_tripped(wires, now, before[:USUAL_RUNS]))
    return found or list(_slowly(wires, now, before))


def _tripped(wires: Tripwires, now: Measured, before: Sequence[Measured]) -> Iterator[str]:
    if _reached("changed", wires.changed, wires, now, before):
        yield f"{now.changed} of {now.files} files have other content"
    if _reached("vanished", wires.vanished, wires, now, before):
        yield f"{now.vanished} of {now.files} files are gone"
    if _reached("new", wires.new, wires, now, before):
        yield f"{size(now.new)} of {size(now.bytes)} were never there before"
    if now.replaced and (said := _encrypted(wires, now, before)) is not None:
        yield said


def _encrypted(wires: Tripwires, now: Measured, before: Sequence[Measured]) -> str | None:
    """That what is new does not pack, where it does usually: all of it together, or nearly each piece of it.

    The pieces are looked at as well, since it costs nothing to add some that pack to nothing.
    """
    for wire, words in (("encrypted", "it packs to {:.0f}% of its size, {}to {:.0f}%"),
                        ("dense", "{:.0f}% of it does not pack, {}{:.0f}%")):  # fmt: skip
        usual = _shares(wire, wires, before)
        share = now.share(wire, wires)
        if wires.encrypted is None or share is None or share < wires.encrypted or not usual:
            continue
        if (often := median(usual)) <= PACKS_WELL:
            return f"what is new looks encrypted: {words.format(share, 'what this source sends usually ', often)}"
    return None


def _slowly(wires: Tripwires, now: Measured, before: Sequence[Measured]) -> Iterator[str]:
    """That content is replaced a little in each run by what does not pack, which was not so before."""
    small = replace(wires, least_bytes=wires.least_bytes // SMALLER)
    lately, earlier = [now, *before[: USUAL_RUNS - 1]], before[USUAL_RUNS - 1 :]
    usual = _shares("dense", small, earlier)
    if wires.encrypted is None or len(usual) < LEAST_EARLIER or median(usual) > PACKS_WELL:
        return
    alike = sum(share >= wires.encrypted for share in _shares("dense", small, lately))
    gone = sum(each.changed + each.vanished for each in lately)
    if alike >= ALIKE_RUNS and 100 * gone >= REPLACED_FILES * now.files:
        yield (
            f"what is new looks encrypted, a little in each run: in {alike} of the last {len(lately)} hardly anything packs, "
            f"and {gone} files have other content or are gone"
        )


def _shares(wire: str, wires: Tripwires, runs: Sequence[Measured]) -> list[float]:
    return [share for each in runs if (share := each.share(wire, wires)) is not None]


def _reached(
    wire: str, threshold: int | None, wires: Tripwires, now: Measured, before: Sequence[Measured]
) -> bool:
    share = now.share(wire, wires)
    if threshold is None or share is None or share < threshold:
        return False
    # The first run of a source is all new: it says nothing of what is usual.
    shares = [each.share(wire, wires) for each in before if each.files]
    often = sum(share is not None and share >= threshold for share in shares)
    return 2 * often <= len(shares)
