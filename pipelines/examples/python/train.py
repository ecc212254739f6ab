"""Trains a model on a table, one pass over its rows in an order that the seed decides."""

import argparse
import random

from model import Model, read


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("data")
    parser.add_argument("model")
    arguments = parser.parse_args()
    rows = read(arguments.data)
    generator = random.Random(arguments.seed)
    generator.shuffle(rows)
    settings = {"rate": arguments.rate, "seed": arguments.seed}
    model = Model([generator.gauss(0, 1) for _ in range(3)], settings)
    for features, label in rows:
        model.learn(features, label, arguments.rate)
    model.save(arguments.model)
    print(f"weights after {len(rows)} rows: {model.weights}")


if __name__ == "__main__":
    main()
