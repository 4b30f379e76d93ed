"""All views, in the order of their keys."""

from __future__ import annotations

from condhpc.tui.overview import Overview
from condhpc.tui.tasks import Tasks
from condhpc.tui.view import View

VIEWS: tuple[type[View], ...] = (Overview, Tasks)
