"""Logistic regression, as small as it gets. A local module: whoever imports it has it in the key."""

import csv
import json
import math


class Model:
    def __init__(self, weights, settings):
        self.weights = list(weights)
        self.settings = settings

    def probability(self, features):
        total = sum(weight * value for weight, value in zip(self.weights, [1.0, *features]))
        return 1 / (1 + math.exp(-total))

    def learn(self, features, label, rate):
        error = self.probability(features) - label
        for index, value in enumerate([1.0, *features]):
            self.weights[index] -= rate * error * value

    def save(self, path):
        with open(path, "w") as file:
            json.dump({"settings": self.settings, "weights": self.weights}, file)
            file.write("\n")

    @classmethod
    def load(cls, path):
        with open(path) as file:
            saved = json.load(file)
        return cls(saved["weights"], saved["settings"])


def read(path):
    """The rows of a table: the features, and the label."""
    with open(path, newline="") as file:
        return [([float(row["x"]), float(row["y"])], int(row["label"])) for row in csv.DictReader(file)]
