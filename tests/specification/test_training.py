"""The claims of the topic training; see ``initcheck/spec/topics/training.py``."""

from initcheck.spec.plugin import claim_test

test_claim = claim_test("training")
