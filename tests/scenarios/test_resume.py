"""A transfer that is killed half way is half a transfer: what came is inspected, admitted, and never sent again."""

from __future__ import annotations

import pytest
from aftermath import PATIENCE, random_file, stand
from stage import eventually

from pbs.model import Outcome

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(400)]
BYTES = 112 << 20


@pytest.mark.parametrize("victim", ["worker", "agent"])
def test_the_next_run_sends_the_rest(victim: str) -> None:
    """F1, F2: killed at about half, the second run sends about half; nothing of it was believed unread."""
    with stand() as place:
        place.prove_first("--set", 'limits={upload="40MB/s"}')
        for number in range(7):
            random_file(place.source.data / f"big-{number}", BYTES // 7)
        packs = place.pbs.repository() / "data"
        before = len(list(packs.glob("*/" + "[0-9a-f]" * 64)))

        def half() -> bool:
            return len(list(packs.glob("*/" + "[0-9a-f]" * 64))) >= before + 4

        with place.pulling() as (process, run):
            eventually(half, PATIENCE, "half of the transfer")
            place.kill(victim)
            process.wait(PATIENCE)
        assert place.ended(run.id).outcome in (Outcome.INTERRUPTED, Outcome.FAILED)
        eventually(place.source_is_quiet, 15, "the end of restic on the source")
        came = sum(path.stat().st_size for path in packs.glob("*/" + "[0-9a-f]" * 64))
        second = place.next_pull()
        assert second["tunnel_bytes"] < BYTES - came + (24 << 20), (second["tunnel_bytes"], came)
        assert second["tunnel_bytes"] < BYTES * 2 // 3
        place.nothing_left()
        place.whole()
