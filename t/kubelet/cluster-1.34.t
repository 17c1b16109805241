#!/bin/sh
cd "$(dirname "$0")" && exec ./run.py cluster 1.34.3
