"""The claims of the topic forward; see ``initcheck/claims/forward.py``."""

from initcheck.specification.suite import claim_test

test_claim = claim_test("forward")
