"""The documented claims, put to the test: ``test_<topic>`` has one case for each claim of the topic, named by its id.

The claims themselves are in ``initcheck/spec/topics``; nothing is claimed or measured here.
"""

from __future__ import annotations

from initcheck.spec.catalogue import TOPICS
from initcheck.spec.plugin import claim_test

for topic in TOPICS:
    globals()[f"test_{topic}"] = claim_test(topic)
