"""For all tests: how hypothesis goes about it, and that no test's log lines count against the next one's."""

import pytest
from hypothesis import HealthCheck, settings

from neko_trio._log_rate import bound_logs

# How long an example takes is the machine's affair, which may be busy: pytest's own limit is the one that counts. The
# rest is as it would be, which in continuous integration means the same examples each time.
settings.register_profile(
    "any machine",
    settings(),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, *settings().suppress_health_check],
)
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def whole_burst() -> None:
    """What is logged is bounded in rate, for the whole process."""
    bound_logs()
