"""The serving engine and its OpenAI-compatible HTTP app: one loop owns the models, many adapters share a batch.

app.py endpoint.py          composition root; the parts that routes ask
routes.py shapes.py answers.py refusals.py   the images API: OpenAI's names, and ours beside them
images.py      a request, from words to a place in the queue; giving.py: from pixels to an answer (encode.py, safety.py)
waiting.py streams.py later.py   three ways to get it: held open, as events, asynchronously
health.py metrics.py        ready, alive, warm; what Prometheus reads
names.py       `model`, `adapters` → a base model and what is worn on it; remembered while the database is away
cache.py       adapters: store → cache_disk.py → memory; cache_watch.py forgets what was deleted
adapter_file.py adapter_header.py   an adapter's file, checked before a weight is used
receipts.py    POST /v1/receipts: its wire; receipt_desk.py who waits, receipt_bench.py one measured, judges.py who judges
requests.py    what is asked of the engine and what it answers
engine.py loop.py   the doors for other threads; what the thread that owns the models does (docs/inference.md)
roster.py running.py resident.py figures.py   who is next; a request under way; bases that are loaded; what was counted
served.py      a base model's samples: begin, step in shared calls, picture
slots.py slotted.py   adapters side by side, a slot a sample
schedulers.py invariant.py   samplers over rows; arithmetic whose bits do not depend on the batch
"""
