"""The whole specification in one file of tests, which ``initcheck spec`` runs."""

from __future__ import annotations

from initcheck.specification.suite import claim_test

test_claim = claim_test()
