"""The claims of the topic symmetry; see ``initcheck/spec/topics/symmetry.py``."""

from initcheck.spec.plugin import claim_test

test_claim = claim_test("symmetry")
