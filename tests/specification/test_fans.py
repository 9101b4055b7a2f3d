"""The claims of the topic fans; see ``initcheck/spec/topics/fans/claims.py``."""

from initcheck.spec.plugin import claim_test

test_claim = claim_test("fans")
