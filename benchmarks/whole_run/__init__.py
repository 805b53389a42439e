"""Compare the commands of modelworks with a plain script, a DVC pipeline and a bare loop."""
