"""Messages about promises that are broken or kept again: to whom, when, and that each is told once.

What there is to say is decided by pure functions; sending is bounded, beside everything else, and delays nothing. A
channel that takes no message is a broken promise itself. No secret is ever part of a message, a log or an argument.
"""

from pbs.messages.senders import ADDRESSED, send
from pbs.messages.wording import trial

__all__ = ["ADDRESSED", "send", "trial"]
