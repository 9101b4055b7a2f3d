"""The claims of the topic dtype; see ``initcheck/claims/dtype.py``."""

from initcheck.specification.suite import claim_test

test_claim = claim_test("dtype")
