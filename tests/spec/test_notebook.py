"""The claims of the topic notebook; see ``initcheck/claims/notebook.py``."""

from initcheck.specification.suite import claim_test

test_claim = claim_test("notebook")
