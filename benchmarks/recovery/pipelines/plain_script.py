"""The steps as a plain script."""

import steps

rows = steps.check(steps.load())
weights = steps.train(rows)
steps.register(weights, steps.score(weights, rows))
