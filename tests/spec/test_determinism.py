"""The claims of the topic determinism; see ``initcheck/claims/determinism.py``."""

from initcheck.specification.suite import claim_test

test_claim = claim_test("determinism")
