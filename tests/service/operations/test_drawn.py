"""Drawn pictures are kept for a while and by nobody's row: both stores."""

from datetime import UTC, datetime, timedelta

import pytest

from service.domain.errors import Damaged
from service.domain.ids import TenantId, new_picture_id
from service.domain.outside import Store
from service.operations.drawn import DrawnFiles, remove_expired

ME = TenantId("local")


def test_what_was_put_is_read_and_replaced(store: Store) -> None:
    files, name = DrawnFiles(store), f"{new_picture_id()}.png"
    assert not files.has(ME, name)
    for data in (b"one", b"another"):
        files.put(ME, name, data)
        assert files.read(ME, name) == data
    assert files.has(ME, name)


def test_another_tenants_name_is_not_there(store: Store) -> None:
    files, name = DrawnFiles(store), f"{new_picture_id()}.png"
    files.put(ME, name, b"mine")
    with pytest.raises(Damaged):
        files.read(TenantId("other"), name)


def test_only_what_is_old_and_drawn_is_removed(store: Store) -> None:
    files, name = DrawnFiles(store), f"{new_picture_id()}.png"
    files.put(ME, name, b"mine")

    def after(seconds: float) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=seconds)

    assert remove_expired(store, 3600, lambda: after(3500)) == 0
    assert files.has(ME, name)
    assert remove_expired(store, 3600, lambda: after(3700)) == 1
    assert not files.has(ME, name)
    assert remove_expired(store, 3600, lambda: after(3700)) == 0
