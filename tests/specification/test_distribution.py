"""The claims of the topic distribution; see ``initcheck/spec/topics/distribution.py``."""

from initcheck.spec.plugin import claim_test

test_claim = claim_test("distribution")
