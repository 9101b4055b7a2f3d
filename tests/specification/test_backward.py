"""The claims of the topic backward; see ``initcheck/spec/topics/backward.py``."""

from initcheck.spec.plugin import claim_test

test_claim = claim_test("backward")
