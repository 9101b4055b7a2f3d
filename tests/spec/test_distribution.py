"""The claims of the topic distribution; see ``initcheck/claims/distribution.py``."""

from initcheck.specification.suite import claim_test

test_claim = claim_test("distribution")
