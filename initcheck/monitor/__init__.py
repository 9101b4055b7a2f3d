"""Watching a model while it is trained: the parts of :class:`initcheck.callbacks.SignalMonitor`."""
