#!/bin/sh
cd "$(dirname "$0")" && exec ./run.py cluster 1.37.2
