"""For all tests: how hypothesis goes about it."""

from hypothesis import HealthCheck, settings

# How long an example takes is the machine's affair, which may be busy: pytest's own limit is the one that counts. The
# rest is as it would be, which in continuous integration means the same examples each time.
settings.register_profile(
    "any machine",
    settings(),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, *settings().suppress_health_check],
)
settings.load_profile("any machine")
