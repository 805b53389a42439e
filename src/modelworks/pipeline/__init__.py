"""The plan of a run, the keys of its stages, and the store of their outputs."""
