"""One step of a training: loss, gradient, optimizer, learning rate, average of the weights."""
