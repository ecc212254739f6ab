# How often each number is there.
{ seen[$1]++ }
END { for (value in seen) print value "\t" seen[value] }
