"""The claims of the topic forward; see ``initcheck/spec/topics/forward/claims.py``."""

from initcheck.spec.plugin import claim_test

test_claim = claim_test("forward")
