"""When runs are due, pure: text of schedules, time zones, windows and a moment in, moments and decisions out.

The only door to cronsim. It reads no clock, asks no ledger and starts nothing: who calls it does what it decided.
"""

from pbs.schedule.decide import HINT_MISSED, Decision, Missed, decide, overtaken
from pbs.schedule.planner import Planner
from pbs.schedule.retry import retry_of, retry_of_dead, told
from pbs.schedule.timetable import Timetable

__all__ = [
    "HINT_MISSED",
    "Decision",
    "Missed",
    "Planner",
    "Timetable",
    "decide",
    "overtaken",
    "retry_of",
    "retry_of_dead",
    "told",
]
