"""The commands of modelworks against a plain script, a DVC pipeline and a bare loop."""
