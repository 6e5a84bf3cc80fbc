from __future__ import annotations

from hypothesis import settings

# A machine that is busy is not a failure.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
