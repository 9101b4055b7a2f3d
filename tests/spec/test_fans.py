"""The claims of the topic fans; see ``initcheck/claims/fans.py``."""

from initcheck.specification.suite import claim_test

test_claim = claim_test("fans")
