"""The claims of the topic determinism; see ``initcheck/spec/topics/determinism/claims.py``."""

from initcheck.spec.plugin import claim_test

test_claim = claim_test("determinism")
