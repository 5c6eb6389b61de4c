"""What an empty repository consists of, made without restic. That restic takes it is seen with the real one, elsewhere."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbs.errors import ResticError, WrongPassword
from pbs.repository.blank import config, irreducible, master_key, polynomial
from pbs.repository.keyfile import keys_of, open_key, seal_key

# From the documentation of restic's chunker.
OF_RESTIC = 0x3DA3358B4DC173


def product(one: int, other: int) -> int:
    """The product of two polynomials over GF(2)."""
    return 0 if other == 0 else (one if other & 1 else 0) ^ product(one << 1, other >> 1)


def divides(one: int, other: int) -> bool:
    """Whether one polynomial over GF(2) divides another."""
    while other.bit_length() >= one.bit_length():
        other ^= one << (other.bit_length() - one.bit_length())
    return other == 0


@pytest.mark.parametrize("degree", [3, 5, 7, 11])
def test_irreducible_is_what_nothing_divides(degree: int) -> None:
    """For every polynomial of a small prime degree: the quick answer is that of trying all divisors."""
    for wanted in range(1 << degree | 1, 2 << degree, 2):
        told = not any(divides(each, wanted) for each in range(2, 1 << degree // 2 + 1))
        assert irreducible(wanted) == told


@given(st.integers(1, 52), st.data())
def test_no_product_is_irreducible(degree: int, data: st.DataObject) -> None:
    """Of the degree that restic uses, whatever the factors are."""
    one = 1 << degree | data.draw(st.integers(0, (1 << degree) - 1)) | 1
    other = 1 << 53 - degree | data.draw(st.integers(0, (1 << 53 - degree) - 1)) | 1
    assert not irreducible(product(one, other))


def test_the_polynomial_is_one_that_restic_could_have_chosen() -> None:
    """Random, of degree 53, irreducible; restic's own example is seen to be."""
    assert irreducible(OF_RESTIC)
    found = {polynomial() for _ in range(20)}
    assert len(found) == 20
    for each in found:
        assert (each.bit_length(), each & 1, irreducible(each)) == (54, 1, True)


def test_nothing_is_made_twice() -> None:
    """Keys, ids and what is sealed with them."""
    masters = {master_key() for _ in range(20)}
    assert len(masters) == len({keys_of(each) for each in masters}) == 20
    one = masters.pop()
    assert len({found for found, _ in (config(one) for _ in range(20))}) == 20
    assert len({content for _, content in (config(one) for _ in range(20))}) == 20


def test_the_config_is_sealed() -> None:
    """It tells nobody anything who does not have the master key."""
    found, content = config(master_key())
    assert found.encode() not in content
    assert b"polynomial" not in content


@pytest.mark.parametrize(
    "junk", [b"", b"{}", b"[]", b'{"mac":{"k":"","r":""},"encrypt":""}', b'{"mac":1,"encrypt":2}']
)
def test_a_strange_master_key_is_refused(junk: bytes) -> None:
    """In our words, whatever it holds."""
    with pytest.raises(ResticError):
        keys_of(junk)


def test_the_master_key_is_behind_the_password() -> None:
    """The key file opens with its password alone."""
    master = master_key()
    _, content = seal_key(master, "right", "")
    assert json.loads(open_key(content, "right")) == json.loads(master)
    with pytest.raises(WrongPassword):
        open_key(content, "wrong")
