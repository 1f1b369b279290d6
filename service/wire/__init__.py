"""What the faces share: what travels, problems, strict JSON, the key, request ids, body bounds, expiring links.

bodies.py     JSON as RFC 8259 means it, read strictly into a model; which content type a route takes
fields.py     pydantic's errors → FieldErrors: dotted path, message, remedy
queries.py    what lists take: page size, cursor, state, and where to go on
guard.py      the outermost layer: request id, key or link token, body bound, and nothing leaks from a 500
links.py      expiring HMAC tokens for one path
shapes.py     what travels: the answers' models, and the domain's records put into them
listening.py  a taken port is told before the start
problems.py   the one mapping from the domain's errors to statuses and application/problem+json
"""
