# How many are even and how many odd.
{ seen[$1 % 2]++ }
END { for (parity in seen) print parity "\t" seen[parity] }
