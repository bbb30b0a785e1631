#!/bin/sh
# 300 programs started one after the other
i=0
while [ $i -lt 300 ]; do
  i=$((i + 1))
  env true || exit 1
done
echo $i
