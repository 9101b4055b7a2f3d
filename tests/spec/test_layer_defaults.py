"""The claims of the topic layer defaults; see ``initcheck/claims/layer_defaults.py``."""

from initcheck.specification.suite import claim_test

test_claim = claim_test("layer_defaults")
