"""The serving engine and its OpenAI-compatible HTTP app: one loop owns the models, many adapters share a batch.

app.py       composition root: `uvicorn worker.inference.app:create_app --factory`
api/         the images API: requests in, pictures out, whichever way they are waited for; health and metrics
receipts/    what an adapter does beside plain diffusers, measured between the pictures of others
adapters/    names → adapters' files → host memory, checked on the way
engine/      the loop that owns the device: who takes the next step, slots, samplers (docs/inference.md)
bases.py     a model's folder on this host

Imports run one way: app > api | receipts > adapters > engine.
"""
