#!/bin/sh
# Runs in the guest: the host types the name of a workload, we say when it starts and with what status it has ended. The host
# takes the times, so a guest whose clock is wrong cannot look better than it is.
exec </dev/console >/dev/console 2>&1
cd /bench
echo @ready
while read -r workload; do
  echo @start
  ./$workload
  echo @end $?
done
