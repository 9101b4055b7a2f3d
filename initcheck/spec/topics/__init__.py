"""The specification: every documented claim about weight initialization in Keras, and how each is tested."""
