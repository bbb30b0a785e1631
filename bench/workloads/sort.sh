#!/bin/sh
# 4 MiB of text sorted by line
sort text | md5sum
