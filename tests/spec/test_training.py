"""The claims of the topic training; see ``initcheck/claims/training.py``."""

from initcheck.specification.suite import claim_test

test_claim = claim_test("training")
