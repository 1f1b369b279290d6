"""The images API: OpenAI's names, and ours beside them.

routes.py shapes.py answers.py refusals.py   its wire; endpoint.py: the parts that routes ask
images.py      a request, from words to a place in the queue; giving.py: from pixels to an answer (encode.py, safety.py)
waiting.py streams.py later.py   three ways to get it: held open, as events, asynchronously
health.py metrics.py        ready, alive, warm; what Prometheus reads
stopping.py    SIGTERM: nothing new is taken, then the port closes
"""
