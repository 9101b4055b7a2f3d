"""The whole specification in one file of tests, which ``initcheck spec`` runs."""

from __future__ import annotations

from initcheck.spec.plugin import claim_test

test_claim = claim_test()
