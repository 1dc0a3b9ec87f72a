"""All that is fuzzed, by name."""

from __future__ import annotations

from fuzzing.media_targets import MEDIA_TARGETS
from fuzzing.network_targets import NETWORK_TARGETS
from fuzzing.text_targets import TEXT_TARGETS

TARGETS = {target.name: target for target in (*TEXT_TARGETS, *MEDIA_TARGETS, *NETWORK_TARGETS)}
