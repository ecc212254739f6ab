"""Writes the metrics of all models as one table, the best first."""

import csv
import json
import sys


def read(path):
    with open(path) as file:
        return json.load(file)


def main():
    table_path, *metrics_paths = sys.argv[1:]
    rows = sorted(map(read, metrics_paths), key=lambda row: (-row["accuracy"], row["rate"], row["seed"]))
    with open(table_path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["rate", "seed", "accuracy"])
        writer.writerows((row["rate"], row["seed"], f"{row['accuracy']:.4f}") for row in rows)


if __name__ == "__main__":
    main()
