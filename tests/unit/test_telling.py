"""How far a run is, in words."""

from __future__ import annotations

from pbs.telling import progress_text

READ = {
    "event": "progress",
    "percent": 99.9,
    "files": 3,
    "bytes": 5_000_000,
    "total_bytes": 5_000_000,
    "sent": 200_000,
}


def test_a_slow_line_is_not_called_whole() -> None:
    """Where all is read and most is still to be sent, nothing says 100 %, and the words say what goes on."""
    assert "99 % · 3 files, 5.0 MB · sent 200.0 KB · all is read, the rest is on its way" == progress_text(
        READ
    )
    whole = progress_text({**READ, "percent": 100.0})
    assert whole.startswith("100 % · ")
    assert "on its way" not in whole


def test_what_is_a_guess_or_no_transfer_is_not_called_read() -> None:
    """The last run's size is a guess; a restore sends nothing."""
    for other in ({"estimated": True}, {"sent": 0}, {"total_bytes": None}, {"bytes": 1000}):
        assert "on its way" not in progress_text({**READ, **other})
