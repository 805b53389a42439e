"""Which configs run when: read from the configs themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from cronsim import CronSim

from modelworks.config import run_config as configuration
from modelworks.config.run_config import ScheduleConfig
from modelworks.project import Project

__all__ = ["Scheduled", "scheduled"]


@dataclass(frozen=True)
class Scheduled:
    """A config with a schedule."""

    config: Path
    """Relative to the project."""
    name: str
    """Of the model."""
    schedule: ScheduleConfig

    def next_run(self) -> datetime:
        """When it is due next, in its own time zone."""
        due: datetime = next(CronSim(self.schedule.cron, datetime.now(ZoneInfo(self.schedule.timezone))))
        return due


def scheduled(project: Project) -> tuple[Scheduled, ...]:
    """Every config of the project that has a schedule.

    Raises:
        BadInput: a config is wrong; a schedule that silently never runs would be worse.
    """
    found = []
    for path in sorted((project.root / "configs").glob("*.yaml")):
        config = configuration.load(path)
        if config.schedule is not None:
            found.append(Scheduled(path.relative_to(project.root), config.name, config.schedule))
    return tuple(found)
