"""The REST face: one router a noun. Each endpoint translates, calls one operation, and translates back.

asking.py     what endpoints are given: who asks, and the operations
jobs.py artifacts.py files.py models.py health.py
face.py       the routers behind the guard, and the OpenAPI file that they make
"""
