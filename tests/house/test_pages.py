"""Pages work under a policy that allows no inline script and no inline style, and fetch nothing from anywhere else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
TEMPLATES = sorted((TOP / "templates").glob("*.html.j2"))
FILES = sorted(path for path in (TOP / "pbs/web/files").iterdir() if path.is_file())
INLINE = re.compile(
    r"<style|\sstyle\s*=|\son[a-z]+\s*=|<script(?![^>]*\ssrc=)|javascript:|\|\s*safe\b", re.IGNORECASE
)
OUTSIDE = re.compile(
    r"(?:src|href|action|url\(|@import|fetch\(|import)[\s=(\"']*(?:https?:)?//", re.IGNORECASE
)
MOST_BYTES = 60_000


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_page_says_what_the_policy_forbids(path: Path) -> None:
    """No inline script or style, no text marked as safe, nothing of another server."""
    text = path.read_text()
    assert [] == INLINE.findall(text) + OUTSIDE.findall(text)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_fetches_from_elsewhere(path: Path) -> None:
    """What pages load names no other server, and is small."""
    text = path.read_text()
    assert [] == OUTSIDE.findall(text)
    assert len(text) < MOST_BYTES


@pytest.mark.parametrize(
    "text", ['<p style="x">', "<a onclick='x'>", "<script>", "{{ x | safe }}", "<style>"]
)
def test_what_is_forbidden_is_found(text: str) -> None:
    """The check fails where it must."""
    assert INLINE.search(text)
    assert OUTSIDE.search('<script src="https://x">')
    assert OUTSIDE.search('url("//x/y.png")')
