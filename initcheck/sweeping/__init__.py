"""Sweeps: many networks by a list of axes, resumable, measured in this process or on a Dask cluster."""
