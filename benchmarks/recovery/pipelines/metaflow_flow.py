"""The steps as a Metaflow flow."""

import steps
from metaflow import FlowSpec, step


class DigitsFlow(FlowSpec):
    """Train the digits and register a version."""

    @step
    def start(self) -> None:
        self.loaded = steps.load()
        self.next(self.check)

    @step
    def check(self) -> None:
        self.rows = steps.check(self.loaded)
        self.next(self.train)

    @step
    def train(self) -> None:
        self.weights = steps.train(self.rows)
        self.next(self.score)

    @step
    def score(self) -> None:
        self.accuracy = steps.score(self.weights, self.rows)
        self.next(self.register)

    @step
    def register(self) -> None:
        self.version = steps.register(self.weights, self.accuracy)
        self.next(self.end)

    @step
    def end(self) -> None:
        pass


if __name__ == "__main__":
    DigitsFlow()
