"""One loop owns the device: requests join and leave between steps, and many adapters share a denoiser call.

requests.py    what is asked and what it answers
engine.py loop.py calls.py   the doors for other threads; what the thread that owns the models does; one denoiser call
roster.py running.py underway.py   who is next; a request and its pictures; all of them, and how they end
resident.py figures.py   bases that are fetched and loaded; what was counted
served.py      a base model's samples: begin, step in shared calls, picture
slots.py slotted.py   adapters side by side, a slot a sample
schedulers.py invariant.py   samplers over rows; arithmetic whose bits do not depend on the batch
limits.py      what memory allows: samples in a call, and a second try when there is more room
"""
