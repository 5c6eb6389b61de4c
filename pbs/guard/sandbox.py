"""Shuts a rest-server in before it starts: of all files only its repository, no network, nobody to signal, no privileges.

Two layers, each of what the kernel and this user allow. Namespaces: a root folder that holds the repository, the
program and the system's libraries, so that no other socket or file even has a name; and a network of its own, with
nothing in it. Landlock: the same rules for files once more, no TCP, no signals to, and no tracing of, anybody outside.
Neither needs root. Where one is not to be had the other still holds; `level` says which. It never starts anything, and
imports as little as it can.
"""
# pathlib costs time at each start, and there may be a thousand of these starting at once:
# ruff: noqa: PTH102, PTH103, PTH106, PTH110, PTH112, PTH114, PTH115, PTH120, PTH123, PTH211

from __future__ import annotations

import ctypes
import errno
import os
import struct

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x08000000, 0x10000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
LAST_CAPABILITY = 63
# Root's files in root's folders need none; files that an operator copied in under another owner need this one.
CAP_DAC_OVERRIDE = 1
# What a program that is linked dynamically is made of.
LIBRARIES = ("/usr", "/lib", "/lib64", "/lib32", "/etc/ld.so.cache")
# The numbers of these calls are the same on every architecture.
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
# In a repository: files and folders are made, renamed, cut and removed; no devices, sockets, pipes or links.
STORE = WRITE_FILE | READ_FILE | READ_DIR | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 13 | 1 << 14
# Rights about files by the version of Landlock that brought them: number of bits.
FILE_BITS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
NET_BOTH, SCOPE_BOTH = 3, 3
NAMESPACES, LANDLOCK = "namespaces", "landlock"

_libc = ctypes.CDLL(None, use_errno=True)


def confine(repository: str, program: str, scratch: str) -> list[str]:
    """Shut this process in, for good and for whatever it becomes. Returns the layers that hold.

    Args:
        repository: The one folder that it may read and write.
        program: What it will become, a real path.
        scratch: Any folder; in our own name space it is covered while the new root is built on it.
    """
    layers = []
    if _unshare():
        try:
            _new_root(repository, program, scratch)
            layers.append(NAMESPACES)
        except OSError:
            # Some systems let everybody make namespaces and nobody use them; as long as the root is the old one, no harm.
            _libc.umount2(os.fsencode(scratch), MNT_DETACH)
    _drop_privileges()
    if _landlock(repository, program):
        layers.append(LANDLOCK)
    return layers


def level() -> int:
    """The version of Landlock that this kernel offers; 0 where it offers none."""
    return int(max(0, _libc.syscall(LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)))


def _unshare() -> bool:
    wanted = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC
    if _libc.unshare(wanted) == 0:
        return True
    user, group = os.geteuid(), os.getegid()
    if _libc.unshare(wanted | CLONE_NEWUSER) != 0:
        return False
    try:
        for file, text in (
            ("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1"),
        ):  # fmt: skip
            with open(f"/proc/self/{file}", "w") as target:
                target.write(text)
    except OSError:
        return False
    return True


def _mount(what: str, where: str, kind: str | None, flags: int) -> None:
    if _libc.mount(os.fsencode(what), os.fsencode(where), kind and kind.encode(), flags, None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), where)


def _new_root(repository: str, program: str, scratch: str) -> None:
    """Make a root folder of what is needed and move into it.

    Raises:
        OSError: a mount is not allowed; the root is still the old one.
    """
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    _mount("none", scratch, "tmpfs", MS_NOSUID | MS_NODEV)
    wanted = [*LIBRARIES, "/dev/null"]
    if not program.startswith(("/usr/", "/lib")):
        wanted.append(program)
    for path in wanted:
        _show(path, scratch + path)
    _show(repository, scratch + repository, writable=True)
    old = f"{scratch}/.old"
    os.mkdir(old)
    if _libc.pivot_root(os.fsencode(scratch), os.fsencode(old)) != 0:
        raise OSError(ctypes.get_errno(), "pivot_root")
    os.chdir("/")
    _libc.umount2(b"/.old", MNT_DETACH)
    os.rmdir("/.old")


def _show(path: str, target: str, *, writable: bool = False) -> None:
    """Have a file or folder appear in the new root."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(path):
        os.symlink(os.readlink(path), target)
        return
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    elif os.path.exists(path):
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
    else:
        return
    _mount(path, target, None, MS_BIND | MS_REC)
    if not writable and path != "/dev/null":
        try:
            _mount("none", target, None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)
        except OSError as error:
            # A mount of the system's own may be locked as it is; Landlock forbids writing there as well.
            if error.errno not in (errno.EPERM, errno.EINVAL):
                raise


def _drop_privileges() -> None:
    for number in range(LAST_CAPABILITY + 1):
        if number != CAP_DAC_OVERRIDE:
            _libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
    _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _landlock(repository: str, program: str) -> bool:
    version = level()
    if version == 0:
        return False
    every = (1 << FILE_BITS.get(version, FILE_BITS[5])) - 1
    words = [every]
    if version >= 4:
        words.append(NET_BOTH)
    if version >= 6:
        words.append(SCOPE_BOTH)
    about = struct.pack(f"={len(words)}Q", *words)
    rules = _libc.syscall(LANDLOCK_CREATE, about, ctypes.c_size_t(len(about)), 0)
    if rules < 0:
        return False
    try:
        reading = READ_FILE | READ_DIR | EXECUTE
        for path in (*LIBRARIES, program):
            _allow(rules, path, reading)
        _allow(rules, "/dev/null", READ_FILE | WRITE_FILE)
        if not _allow(rules, repository, every & STORE):
            return False
        return bool(_libc.syscall(LANDLOCK_RESTRICT, rules, 0) == 0)
    finally:
        os.close(rules)


def _allow(rules: int, path: str, access: int) -> bool:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if not os.path.isdir(path):
            access &= EXECUTE | WRITE_FILE | READ_FILE
        rule = struct.pack("=Qi", access, descriptor)
        return bool(_libc.syscall(LANDLOCK_ADD, rules, 1, rule, 0) == 0)
    finally:
        os.close(descriptor)
