"""Figures for Prometheus, in OpenMetrics: made anew at each look from the ledger, so that none is lost with a process.

The only door to prometheus-client. Labels are names of sources and words of closed sets: nothing that a source says.
"""

from pbs.metrics.families import CONTENT_TYPE
from pbs.metrics.meter import Meter

__all__ = ["CONTENT_TYPE", "Meter"]
