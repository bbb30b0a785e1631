#!/bin/sh
# Words of 4 MiB of text counted in awk's associative array
awk '{ for (i = 2; i <= NF; i++) count[$i]++; sum += $1 } END { for (word in count) { words++; most = count[word] > most ? count[word] : most }; print NR, sum % 65536, words, most }' text
