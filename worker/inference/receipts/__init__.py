"""Receipts: routes.py is their wire, desk.py knows who waits, bench.py measures one, alone.py draws
for it by the engine's loop, judges.py are the rewards that judge."""
