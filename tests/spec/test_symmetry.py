"""The claims of the topic symmetry; see ``initcheck/claims/symmetry.py``."""

from initcheck.specification.suite import claim_test

test_claim = claim_test("symmetry")
