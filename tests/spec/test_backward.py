"""The claims of the topic backward; see ``initcheck/claims/backward.py``."""

from initcheck.specification.suite import claim_test

test_claim = claim_test("backward")
