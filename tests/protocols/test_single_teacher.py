"""The protocol `single_teacher`."""

from __future__ import annotations

from condhpc import registry


def test_asks_one_teacher_at_temperature_20() -> None:
    """The role `single` of the manifest labels every batch by KL at T = 20."""
    found = registry.load("protocols", "single_teacher")
    assert (found.labels, found.teacher_role, found.temperature) == ("teacher", "single", 20.0)


def test_every_protocol_carries_its_own_name() -> None:
    """The name in a manifest is the name in the key and in the tables."""
    assert [registry.load("protocols", name).name for name in registry.names("protocols")] == list(
        registry.names("protocols")
    )
