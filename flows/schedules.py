"""Read the schedules of the configs and check that their data exist."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from cronsim import CronSim

from modelworks.config import run_config as configuration
from modelworks.config.run_config import ScheduleConfig
from modelworks.errors import BadInput
from modelworks.project import Project

__all__ = ["Scheduled", "scheduled"]


@dataclass(frozen=True)
class Scheduled:
    """A config with a schedule."""

    config: Path
    """Relative to the project."""
    name: str
    """The model's name."""
    schedule: ScheduleConfig
    missing: str = ""
    """Why its data cannot be read; "" if they can."""
    hint: str = ""
    """How to get the missing data."""

    def next_run(self) -> datetime:
        """Return the next time it is due, in the schedule's time zone."""
        due: datetime = next(CronSim(self.schedule.cron, datetime.now(ZoneInfo(self.schedule.timezone))))
        return due


def scheduled(project: Project) -> tuple[Scheduled, ...]:
    """Return every config of the project that has a schedule, even if its data are missing.

    Raises:
        BadInput: a config is wrong.
    """
    found = []
    for path in sorted((project.root / "configs").glob("*.yaml")):
        config = configuration.load(path)
        if config.schedule is None:
            continue
        missing = hint = ""
        try:
            config.source.fingerprint(project.root)
        except BadInput as error:
            missing, hint = error.message, error.hint
        found.append(Scheduled(path.relative_to(project.root), config.name, config.schedule, missing, hint))
    return tuple(found)
