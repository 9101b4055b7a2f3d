"""The specification as tests: every claim of the catalogue is one test of pytest."""
