#!/bin/sh
cd "$(dirname "$0")" && exec ./run.py static 1.34.3
