#!/bin/sh
# A shell's loop of 100,000 turns with a little arithmetic
i=0
sum=0
while [ $i -lt 100000 ]; do
  i=$((i + 1))
  sum=$(((sum * 31 + i) % 65536))
done
echo $sum
