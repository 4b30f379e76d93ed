"""All views, in the order of their keys."""

from __future__ import annotations

from condhpc.tui.cost import Cost
from condhpc.tui.failures import Failures
from condhpc.tui.log import Log
from condhpc.tui.overview import Overview
from condhpc.tui.results import Results
from condhpc.tui.set_view import Sets
from condhpc.tui.tasks import Tasks
from condhpc.tui.view import View

VIEWS: tuple[type[View], ...] = (Overview, Tasks, Failures, Results, Cost, Log, Sets)
