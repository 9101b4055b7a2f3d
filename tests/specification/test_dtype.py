"""The claims of the topic dtype; see ``initcheck/spec/topics/dtype.py``."""

from initcheck.spec.plugin import claim_test

test_claim = claim_test("dtype")
