"""Everything that a face, a worker or the steward may ask for: one method per verb. Knows ports, no framework."""
