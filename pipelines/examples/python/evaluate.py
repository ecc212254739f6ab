"""Writes how often a model is right on a table."""

import json
import sys

from model import Model, read


def main():
    model_path, data_path, metrics_path = sys.argv[1:]
    model, rows = Model.load(model_path), read(data_path)
    right = sum((model.probability(features) > 0.5) == bool(label) for features, label in rows)
    with open(metrics_path, "w") as file:
        json.dump({**model.settings, "accuracy": right / len(rows)}, file)
        file.write("\n")


if __name__ == "__main__":
    main()
