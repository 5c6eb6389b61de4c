"""What a walk through a snapshot takes for a tree: names that a file can have, in order, once, each in a folder of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pbs.repository.trees import MOST_DEPTH, EndlessTree, UnsoundTree, _Walk


def walked(*entries: dict[str, Any], most: int = 1000) -> _Walk:
    """A walk that was told these."""
    walk = _Walk(most=most)
    for entry in entries:
        told = {"message_type": "node", "type": "file", "size": 3, **entry}
        told.setdefault("path", f"/{told.get('name')}")
        walk.take(json.dumps(told).encode())
    return walk


DIR = {"type": "dir"}


def test_an_honest_tree_is_counted() -> None:
    """Folders before what is in them, siblings in order; what is no node is passed over."""
    walk = walked(
        {"name": "a", **DIR},
        {"name": "b", "path": "/a/b"},
        {"name": "c", "type": "symlink"},
        {"name": "d", "type": "dev"},
    )
    walk.take(b'{"message_type":"snapshot"}')
    walk.take(b"no json")
    assert (1, 3, 3, 1) == (walk.tree.files, walk.tree.bytes, walk.tree.others, walk.tree.special)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        *(([{"name": name}], "impossible name") for name in ("", ".", "..", "a/b", "../x", "a\0b", "/")),
        ([{"name": 7}], "without a name"),
        ([{"name": "a", "path": None}], "without a name"),
        ([{"name": "a", "path": "/b/a"}], "in no folder"),
        ([{"name": "a", "path": "a"}], "in no folder"),
        ([{"name": "a"}, {"name": "b", "path": "/a/b"}], "in no folder"),
        ([{"name": "a"}, {"name": "a"}], "twice in a folder"),
        ([{"name": "a", "type": "symlink"}, {"name": "a", **DIR}], "twice in a folder"),
        ([{"name": "b"}, {"name": "a"}], "out of order"),
        ([{"name": "a", "type": "strange"}], "of no kind"),
        ([{"name": "a", "type": None}], "of no kind"),
    ],
)
def test_what_no_system_holds_is_refused(entries: list[dict[str, Any]], reason: str) -> None:
    """T16: a name that leads out of its folder, an entry that lies elsewhere, one that is there twice, one of no kind."""
    with pytest.raises(UnsoundTree, match=reason):
        walked(*entries)


def test_depth_and_number_are_bounded() -> None:
    """T15: folders deeper than any path can be, and more entries than may be, end the walk."""
    names = [{"name": "d", "path": "/d" * depth, **DIR} for depth in range(1, MOST_DEPTH + 3)]
    with pytest.raises(UnsoundTree, match="deep"):
        walked(*names, most=1 << 20)
    with pytest.raises(EndlessTree):
        walked(*({"name": f"f{number:03}"} for number in range(11)), most=10)
