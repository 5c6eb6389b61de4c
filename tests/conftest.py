"""What holds for every test: neither a loaded machine nor how the tests were started decides whether they pass."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# Speed is never asserted, and making examples is no exception.
settings.register_profile("pbs", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pbs")

# In the background of a script these may be ignored, and programs that the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
