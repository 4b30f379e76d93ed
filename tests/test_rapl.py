"""The kernel's power caps, as folders of several machines have them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from condhpc.power_sources import Domain, Unreadable
from condhpc.rapl import POWERCAP, Rapl


def zone(folder: Path, zone_name: str, name: str, energy_uj: int | str = 1000) -> Path:
    """One folder below `powercap`."""
    path = folder / zone_name
    path.mkdir()
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{energy_uj}\n")
    (path / "max_energy_range_uj").write_text("262143328850\n")
    return path


def test_packages_and_dram_are_read_and_nothing_twice(tmp_path: Path) -> None:
    """`core` and `uncore` are within the package, `psys` holds it, and `mmio` is the same counter again."""
    for number in (0, 1):
        zone(tmp_path, f"intel-rapl:{number}", f"package-{number}", 5000 + number)
        zone(tmp_path, f"intel-rapl:{number}:0", "core")
        zone(tmp_path, f"intel-rapl:{number}:1", "dram", 70)
    zone(tmp_path, "intel-rapl:2", "psys")
    zone(tmp_path, "intel-rapl-mmio:0", "package-0")
    source = Rapl(tmp_path)
    assert source.domains() == [
        Domain(f"intel-rapl:{name}", part, 262143328850)
        for name, part in (("0", "cpu"), ("0:1", "dram"), ("1", "cpu"), ("1:1", "dram"))
    ]
    assert [source.read_uj(f"intel-rapl:{name}") for name in ("0", "1", "0:1")] == [5000, 5001, 70]


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    """Virtual machines have no power caps."""
    with pytest.raises(Unreadable, match="no RAPL domains"):
        Rapl(tmp_path / "none").domains()


def test_counters_for_root_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Since 2020 that is how kernels have it."""
    path = zone(tmp_path, "intel-rapl:0", "package-0") / "energy_uj"
    read = Path.read_text

    def guarded(self: Path) -> str:
        if self == path:
            raise PermissionError(13, "Permission denied")
        return read(self)

    monkeypatch.setattr(Path, "read_text", guarded)
    with pytest.raises(Unreadable, match="root alone"):
        Rapl(tmp_path).domains()


def test_a_counter_that_breaks_names_its_file(tmp_path: Path) -> None:
    """Neither an empty file nor one that vanished is a number."""
    path = zone(tmp_path, "intel-rapl:0", "package-0") / "energy_uj"
    source = Rapl(tmp_path)
    source.domains()
    path.write_text("")
    with pytest.raises(Unreadable, match="intel-rapl:0/energy_uj holds ''"):
        source.read_uj("intel-rapl:0")
    path.unlink()
    with pytest.raises(Unreadable, match="intel-rapl:0/energy_uj"):
        source.read_uj("intel-rapl:0")


@pytest.mark.skipif(
    not os.access(POWERCAP / "intel-rapl:0" / "energy_uj", os.R_OK), reason="no readable RAPL on this machine"
)
def test_the_real_counters_move() -> None:
    """Where there are some: a package counts on while this test computes."""
    source = Rapl()
    domain = next(domain for domain in source.domains() if domain.part == "cpu")
    first = source.read_uj(domain.name)
    assert any(source.read_uj(domain.name) != first for _ in range(1_000_000))
