"""The claims of the topic layer defaults; see ``initcheck/spec/topics/layer_defaults/claims.py``."""

from initcheck.spec.plugin import claim_test

test_claim = claim_test("layer_defaults")
