"""A forger of restic repositories (format version 2), as somebody would write it who owns a source.

He has what an owner of a source has: the repository's password, and the REST protocol through the lent socket. With
it he seals whatever he likes. It needs the standard library and `cryptography`, and never the product's own code.
"""

from forge.crypt import Master, key_file, open_key
from forge.door import Door, Folder
from forge.forger import Forger
from forge.forms import Blob, Pack, blob_id, node, tree, zstd

__all__ = [
    "Blob",
    "Door",
    "Folder",
    "Forger",
    "Master",
    "Pack",
    "blob_id",
    "key_file",
    "node",
    "open_key",
    "tree",
    "zstd",
]
