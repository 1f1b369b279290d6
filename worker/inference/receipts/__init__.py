"""Receipts: routes.py is their wire, desk.py knows who waits, bench.py measures one, judges.py are the rewards that judge."""
