#!/bin/sh
# http://guest/cgi-bin/info: enough for a test to see from outside which guest it talks to and what it has.
printf 'Content-Type: text/plain\r\n\r\n'
hostname
ip -o -4 addr
ls /sys/block
grep MemTotal /proc/meminfo
