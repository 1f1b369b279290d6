"""The serving engine and its OpenAI-compatible HTTP app: one loop owns the models, one request at a time.

app.py         composition root and routes
shapes.py      what travels: OpenAI's names, and ours beside them
names.py       `model` → a base model, or an adapter on one; remembered, so that a database that is away stops nothing
adapters.py    adapters' bytes from the store, checked against their rows, the last used kept
engine.py      the bounded queue, the thread that owns the models, drawing
"""
