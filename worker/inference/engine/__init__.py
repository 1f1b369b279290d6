"""One loop owns the device: requests join and leave between steps, and many adapters share a denoiser call.

requests.py    what is asked and what it answers
engine.py loop.py   the doors for other threads; what the thread that owns the models does
roster.py running.py resident.py figures.py   who is next; a request under way; bases that are loaded; what was counted
served.py      a base model's samples: begin, step in shared calls, picture
slots.py slotted.py   adapters side by side, a slot a sample
schedulers.py invariant.py   samplers over rows; arithmetic whose bits do not depend on the batch
limits.py      how many samples a call may have after the device ran out of memory
"""
