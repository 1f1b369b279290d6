"""The gRPC face: translates messages, calls one operation, translates back. Refusals carry what REST's problems say.

jobs.py models.py   one class a service, one method a verb
messages.py         messages ↔ the JSON and the shapes that all faces share
guard.py            around every method: request id, key, bound, and nothing leaks from a fault
refusals.py         problems → google.rpc.Status with details
face.py             the server: its port, health, its start and its graceful end
"""
