"""The claims of the topic notebook; see ``initcheck/spec/topics/notebook.py``."""

from initcheck.spec.plugin import claim_test

test_claim = claim_test("notebook")
