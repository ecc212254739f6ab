"""Draws points on a plane, half of them above a line, and writes them as two tables."""

import argparse
import csv
import random


def points(count, generator):
    for _ in range(count):
        x, y = generator.uniform(-1, 1), generator.uniform(-1, 1)
        noise = generator.gauss(0, 0.1)
        yield round(x, 6), round(y, 6), int(2 * x - y + noise > 0)


def write(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["x", "y", "label"])
        writer.writerows(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--train", required=True)
    parser.add_argument("--test", required=True)
    arguments = parser.parse_args()
    generator = random.Random(7)
    write(arguments.train, points(arguments.rows, generator))
    write(arguments.test, points(arguments.rows // 2, generator))


if __name__ == "__main__":
    main()
