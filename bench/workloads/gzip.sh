#!/bin/sh
# 4 MiB of text compressed, and unpacked to be checked
gzip -c text | gzip -dc | md5sum
