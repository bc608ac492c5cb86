#!/bin/sh
# How a submitted job is, for snakemake: running, success or failed. What is not known yet is running.
state=$(sacct -X -n -P -o State -j "$1" 2>/dev/null | head -n 1)
case "$state" in
  COMPLETED) echo success ;;
  "" | PENDING | RUNNING | REQUEUED | RESIZING | SUSPENDED | CONFIGURING | COMPLETING) echo running ;;
  *) echo failed ;;
esac
