"""Energy counters of processors as Linux shows them (`powercap`, RAPL); AMD's have the same names."""

from __future__ import annotations

from pathlib import Path

from condhpc.power_sources import Domain, Unreadable

POWERCAP = Path("/sys/class/powercap")


class Rapl:
    """A folder of power caps.

    Packages and their DRAM only: `core` and `uncore` are within the package, and `psys` holds the packages.
    """

    def __init__(self, folder: Path = POWERCAP) -> None:
        self._folder = folder
        self._counters: dict[str, Path] = {}

    def domains(self) -> list[Domain]:
        """Readable packages and DRAM; raises Unreadable, as root alone may read them since 2020 (CVE-2020-8694)."""
        found = []
        for zone in sorted(self._folder.glob("intel-rapl:*")):
            name = self._text(zone / "name")
            if not name.startswith("package-") and name != "dram":
                continue
            counter = zone / "energy_uj"
            self._number(counter)  # whether we may
            self._counters[zone.name] = counter
            part = self._number(zone / "max_energy_range_uj")
            found.append(Domain(zone.name, "dram" if name == "dram" else "cpu", part))
        if not found:
            raise Unreadable("this machine has no RAPL domains")
        return found

    def read_uj(self, name: str) -> int:
        """A domain's counter."""
        return self._number(self._counters[name])

    def _number(self, path: Path) -> int:
        text = self._text(path)
        try:
            return int(text)
        except ValueError:
            raise Unreadable(f"{path.parent.name}/{path.name} holds {text[:40]!r}") from None

    @staticmethod
    def _text(path: Path) -> str:
        try:
            return path.read_text().strip()
        except PermissionError:
            raise Unreadable("RAPL is readable by root alone") from None
        except (OSError, ValueError) as error:
            raise Unreadable(f"{path.parent.name}/{path.name}: {error}") from None
