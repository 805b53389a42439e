"""The checks of `modelworks doctor`, one file per area.

Checks change nothing; repairs are separate functions.
"""
