"""From a name to an adapter in host memory: nothing that was not checked comes further.

names.py       `model`, `adapters` → a base model and what is worn on it; remembered while the database is away
cache.py       store → disk.py → memory; watch.py forgets what was deleted
file.py header.py   an adapter's file, checked before a weight is used
"""
